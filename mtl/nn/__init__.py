"""Token ids go in; one vector per token comes out of the encoder, and scores out of the heads."""
