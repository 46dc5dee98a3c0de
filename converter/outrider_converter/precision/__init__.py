"""What becomes int8 and what stays float: layers are sent back until the budget holds."""
