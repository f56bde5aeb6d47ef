"""The sky: patches and their frames, great circles, masks and areas."""
