"""Reading files that others wrote: regular files only, with a bound, and every cell as it stands."""
