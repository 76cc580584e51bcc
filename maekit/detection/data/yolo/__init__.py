"""Images with one text file of boxes or polygons each, as YOLO trains on."""
