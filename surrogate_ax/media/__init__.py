"""Outputs as files to look at: pictures, clips, sound, structures, and a sheet of several."""
