"""A scenario file as a job on a Ray cluster: submitted from here, played and kept there, followed, stopped and brought
back."""
