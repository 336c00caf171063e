import pickle

import pytest

from jax_uda.common import registry
from jax_uda.common.registry import SettingError

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
  "path, message, text",
  (
    ("size", "= 3 must be even.", "size = 3 must be even."),
    (("a", "b"), ": there is none.", "a.b: there is none."),
    ((), ": there is none.", "there is none."),
    ("The whole text. And more.", "", "The whole text. And more."),
  ),
)
def test_an_error_says_where_and_what(path, message, text):
  error = SettingError(path, message)
  assert str(error) == text and error.args == (text,)
  again = pickle.loads(pickle.dumps(error))
  assert (again.path, again.message) == (error.path, error.message)


def test_callers_put_the_place_in_front_and_the_cause_stays():
  with pytest.raises(SettingError) as caught, registry.within("config", "data"):
    try:
      raise KeyError("cause")
    except KeyError as cause:
      raise SettingError(("size",), "= 0.") from cause
  assert caught.value.path == ("config", "data", "size") and str(caught.value).endswith("size = 0.")
  assert isinstance(caught.value.__cause__, KeyError)


def test_a_name_is_looked_up_or_imported():
  assert registry.lookup({"one": 1}, "one", ("name",)) == 1
  with pytest.raises(SettingError, match="^name = 'on' is unknown. Did you mean 'one'"):
    registry.lookup({"one": 1}, "on", ("name",))
  assert registry.imported("json:loads", ("name",))("3") == 3
  for name in ("json:no_such", "no_such_module:x", "json"):
    with pytest.raises(SettingError, match=f"^name = '{name}' cannot be imported"):
      registry.imported(name, ("name",))


def test_settings_become_keyword_arguments():
  make = lambda *, width, height=1: (width, height)
  assert registry.call(make, (), width=3) == (3, 1)
  with pytest.raises(SettingError, match="^has no field 'widht'. Did you mean 'width'"):
    registry.call(make, (), widht=3)
  with pytest.raises(SettingError, match="^box: missing a required.* argument: 'width'"):
    registry.call(make, ("box",))
