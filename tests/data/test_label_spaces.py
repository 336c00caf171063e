import dataclasses

import numpy as np
import pytest
from golden_cases import golden

from jax_uda.data import label_spaces

WORDS = {
  "pavement": "sidewalk",
  "tree": "vegetation",
  "signsymbol": "sign",
  "pedestrian": "person",
  "bicyclist": "bicycle",
}


@pytest.mark.parametrize("case", golden("base/label_maps"))
def test_tables_names_and_colours_match_the_reference(case):
  np.testing.assert_array_equal(
    label_spaces.CITYSCAPES_IDS, case.gta_or_cityscapes_labelid_to_trainid
  )
  np.testing.assert_array_equal(label_spaces.SYNTHIA_IDS, case.synthia_id_to_trainid)
  cityscapes = label_spaces.CITYSCAPES19
  assert cityscapes.names == tuple(case.class_names)
  np.testing.assert_array_equal(cityscapes.palette, case.palette_rgb)
  assert cityscapes.subsets["16"] == tuple(case.subset16)
  assert cityscapes.subsets["13"] == tuple(case.subset13)
  camvid = [WORDS.get(name.lower(), name.lower()) for name in case.camvid_names]
  assert label_spaces.CAMVID11.names == tuple(camvid[:11])


def test_void_of_camvid_is_ignored():
  assert label_spaces.CAMVID_IDS[:12].tolist() == [*range(11), 255]


@pytest.mark.parametrize("space", (label_spaces.CITYSCAPES19, label_spaces.CAMVID11))
def test_a_label_space_fits_itself(space):
  assert space.palette.shape == (space.num_classes, 3) and space.palette.dtype == np.uint8
  assert len(np.unique(space.palette, axis=0)) == space.num_classes
  assert all(max(ids) < space.num_classes for ids in space.subsets.values())
  with pytest.raises(dataclasses.FrozenInstanceError):
    space.names = ()
