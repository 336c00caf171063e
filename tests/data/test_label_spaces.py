import dataclasses

import numpy as np
import pytest
from golden_cases import golden

from jax_uda.data import label_spaces

pytestmark = pytest.mark.fast

WORDS = {
  "pavement": "sidewalk",
  "tree": "vegetation",
  "signsymbol": "sign",
  "pedestrian": "person",
  "bicyclist": "bicycle",
}


@pytest.mark.parametrize("case", golden("base/label_maps"))
def test_tables_names_and_colors_match_the_reference(case):
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


@pytest.mark.parametrize("space", label_spaces.KNOWN.values())
def test_a_label_space_fits_itself(space):
  assert space.palette.shape == (space.num_classes, 3) and space.palette.dtype == np.uint8
  assert len(np.unique(space.palette, axis=0)) == space.num_classes
  assert all(max(ids) < space.num_classes for ids in space.subsets.values())
  with pytest.raises(dataclasses.FrozenInstanceError):
    space.names = ()


def test_mapillary_ids_match_the_reference():
  expected = {13: 0, 24: 0, 41: 0, 2: 1, 15: 1, 17: 2, 6: 3, 3: 4, 45: 5, 47: 5, 48: 6, 50: 7}
  expected |= {30: 8, 29: 9, 27: 10, 19: 11, 20: 12, 21: 12, 22: 12, 55: 13, 61: 14, 54: 15}
  expected |= {58: 16, 57: 17, 52: 18}
  assert dict(enumerate(label_spaces.MAPILLARY_IDS.tolist())) == {
    raw: expected.get(raw, 255) for raw in range(256)
  }


def test_classes_translate_between_the_spaces():
  spaces = label_spaces.KNOWN
  to = lambda source, target: label_spaces.translation(spaces[source], spaces[target]).tolist()
  assert to("cityscapes19", "synthia16")[:19] == [
    *range(9), 255, 9, 10, 11, 12, 255, 13, 255, 14, 15,
  ]  # fmt: skip
  assert to("cityscapes19", "synthia13")[3:6] == [255] * 3
  # As in the specification of CamVid: sky, building, pole, road, …, bicycle; void last.
  assert to("camvid11", "cityscapes19")[:12] == [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, 255]
  back = to("cityscapes19", "camvid11")
  assert [back[i] for i in to("camvid11", "cityscapes19")[:11]] == [*range(11)]
  assert back[:19].count(8) == 4 and 255 not in back[:19]
  for name in spaces:
    size = spaces[name].num_classes
    assert to(name, name) == [*range(size), *[255] * (256 - size)]


@pytest.mark.parametrize("case", golden("base/label_maps"))
def test_the_classes_of_synthia_scores_are_those_of_the_reference(case):
  names = np.array(case.class_names)
  for number, space in ((16, label_spaces.SYNTHIA16), (13, label_spaces.SYNTHIA13)):
    chosen = np.array(case[f"subset{number}"])
    assert space.names == tuple(names[chosen])
    np.testing.assert_array_equal(space.palette, case.palette_rgb[chosen])
  assert label_spaces.SYNTHIA16.subsets["13"] == (0, 1, 2, *range(6, 16))
