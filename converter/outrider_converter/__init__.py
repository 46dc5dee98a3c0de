"""The workstation's part: a recipe makes a teacher, data and a budget into a verified bundle."""
