"""What a program moves, from a text in the form in which XLA prints it."""

import pytest

from jax_uda.run.plan import program

pytestmark = pytest.mark.fast

TEXT = """HloModule jit_step, is_scheduled=true

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%sliced (p.0: f32[10,4], p.1: s32[]) -> f32[4] {
  %p.0 = f32[10,4]{1,0} parameter(0)
  %p.1 = s32[] parameter(1)
  %slice.1 = f32[1,4]{1,0} dynamic-slice(%p.0, %p.1), dynamic_slice_sizes={1,4}
  ROOT %out = f32[4]{0} bitcast(%slice.1)
}

%body (state: (s32[], f32[10,4], f32[4])) -> (s32[], f32[10,4], f32[4]) {
  %state = (s32[], f32[10,4]{1,0}, f32[4]{0}) parameter(0)
  %index = s32[] get-tuple-element(%state), index=0
  %stack = f32[10,4]{1,0} get-tuple-element(%state), index=1
  %layer = f32[4]{0} fusion(%stack, %index), kind=kLoop, calls=%sliced
  %total = f32[4]{0} all-reduce(%layer), channel_id=3, to_apply=%add, metadata={op_name="jit(step)/inside"}
  ROOT %next = (s32[], f32[10,4]{1,0}, f32[4]{0}) tuple(%index, %stack, %total)
}

%condition (state.1: (s32[], f32[10,4], f32[4])) -> pred[] {
  %state.1 = (s32[], f32[10,4]{1,0}, f32[4]{0}) parameter(0)
  ROOT %less = pred[] constant(true)
}

ENTRY %main (a: f32[10,4], b: s32[8]) -> f32[4] {
  %a = f32[10,4]{1,0:T(8,128)} parameter(0)
  %b = s32[8]{0} parameter(1)
  %zero = s32[] constant(0)
  %start = f32[4]{0} constant({0, 0, 0, 0})
  %piece.1 = s32[16]{0} all-gather(%b), channel_id=5, dimensions={0}, metadata={op_name="jit(step)/gathered"}
  %piece.2 = s32[32]{0} all-gather(%b), channel_id=5, dimensions={0}, metadata={op_name="jit(step)/gathered"}
  %tuple.1 = (s32[], f32[10,4]{1,0}, f32[4]{0}) tuple(%zero, %a, %start)
  %loop = (s32[], f32[10,4]{1,0}, f32[4]{0}) while(%tuple.1), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"10"}}
  ROOT %result = f32[4]{0} get-tuple-element(%loop), index=2
}
"""


def test_an_exchange_counts_once_per_channel_and_as_often_as_its_loop_runs():
  by_kind = {item.kind: item for item in program.Program(TEXT).collectives()}
  assert by_kind == {
    "all-reduce": program.Collective("all-reduce", 16, 10, "jit(step)/inside"),
    "all-gather": program.Collective("all-gather", 128, 1, "jit(step)/gathered"),
  }


def test_a_slice_of_a_stack_of_layers_moves_the_slice():
  gathers = (64 + 32) + (128 + 32)  # two pieces, each with its operand
  one_round = (16 + 4 + 16) + (
    16 + 16
  )  # the slice, its index, its copy; the exchange and its operand
  assert program.Program(TEXT).bytes_moved() == gathers + 10 * one_round


@pytest.mark.parametrize(
  ("shape", "expected"),
  [
    ("f32[2,3]{1,0}", 24),
    ("(bf16[4]{0:T(256)}, pred[], u8[3])", 8 + 1 + 3),
    ("f8e4m3fn[5]", 5),
    ("s4[4]", 2),
    ("token[]", 0),
  ],
)
def test_bytes_of_a_type(shape, expected):
  assert program.num_bytes(shape) == expected
