"""Parts of pictures that several families draw."""
