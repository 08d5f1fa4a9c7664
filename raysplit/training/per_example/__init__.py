"""Gradients of single samples: of every layer from what went in and what came back, or by one backward pass a sample."""
