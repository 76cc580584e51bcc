"""What `maekit runs` lists and removes. Standard library and YAML only: a hundred runs are listed in under a second."""
