"""What several commands use: flags, the session behind fit and validate, images that a user gives, output folders."""
