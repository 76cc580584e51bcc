"""The features of patches of whole images: how images are cut, their files, neighbours and colours."""
