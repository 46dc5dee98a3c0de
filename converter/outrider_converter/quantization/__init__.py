"""How a float file becomes int8: ranges, safe weights, sensitive layers, mixed precision, saturation."""
