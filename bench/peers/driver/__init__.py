"""What bench/peers/run is made of: a module for each peer, and what they share."""
