"""What a backbone is good for without fine-tuning: features of images, their neighbours and clusters, attention."""
