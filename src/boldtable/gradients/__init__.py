"""Gradients of the functional connectome: where each parcel lies on its main axes, for any atlas and cohort.

Group connectome → affinity of the parcels' profiles → diffusion map → alignment to a reference where one is given.
Brain-JEPA places its tokens by them.

>>> from boldtable.gradients import GradientSettings, gradients
>>> values = gradients(connectome, GradientSettings())  # doctest: +SKIP
"""

from boldtable.gradients.group import GroupConnectome
from boldtable.gradients.maps import affinity, align, diffusion_map, gradients
from boldtable.gradients.settings import GradientSettings

__all__ = ["GradientSettings", "GroupConnectome", "affinity", "align", "diffusion_map", "gradients"]
