"""Parcels: index, name, hemisphere, network, coordinates; merging atlases; moving between orders and grids."""
