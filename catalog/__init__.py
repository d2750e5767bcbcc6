"""What can be had: listings, versions, their files, and the starter shelf."""
