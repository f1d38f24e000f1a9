"""A budget goes in; what another library predicts after training within it comes out."""
