"""Pure array functions on (frame, parcel): regress, band-pass, resample, normalise, crop."""

from boldtable.signal.denoise import Band, Cleaned, denoise

__all__ = ["Band", "Cleaned", "denoise"]
