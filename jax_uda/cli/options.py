"""The flags of single commands; those that commands share are in `command`.

Which flag belongs to which command is in the table of `commands`.
"""

from absl import flags

from jax_uda.cli import commands

MODE = flags.DEFINE_enum(
  "mode",
  "train",
  list(commands.MODES),
  "The command, for those who call main.py without its name. "
  + ". ".join(f"{mode}: {commands.COMMANDS[name].summary}" for mode, name in commands.MODES.items())
  + ".",
)
PRINT_CONFIG = flags.DEFINE_bool(
  "print_config",
  False,
  "Print the config with all that was set, as JSON, and stop; the printed text is a file for --config.",
)

# --- import-weights ---
FROM = flags.DEFINE_string("from", None, "File that is read: .pth, .pt, .bin or .safetensors.")
ENCODER = flags.DEFINE_string("encoder", None, "Encoder that the weights belong to, e.g. mit_b5.")
DECODER = flags.DEFINE_string(
  "decoder", "", "Decoder in the file of a whole model, e.g. daformer; empty: none."
)
NUM_CLASSES = flags.DEFINE_integer("num_classes", 19, "Number of classes of the decoder.")
CLASSES = flags.DEFINE_string(
  "classes",
  "",
  "What the classes of a whole model are: cityscapes19, synthia16, synthia13 or camvid11; empty: the one of "
  "--num_classes classes.",
)

# --- predict, export and import-weights ---
NETWORK = flags.DEFINE_enum(
  "network", "student", ["student", "teacher"], "Which network of a training run."
)
OUT = flags.DEFINE_string("out", None, "Folder to write to; made if missing.")
STAGE = flags.DEFINE_string(
  "stage", "", "Which stage of a run with stages; empty: the one that was trained last."
)
CHECKPOINT = flags.DEFINE_enum(
  "checkpoint",
  "reported",
  ["reported", "last", "best_on_target"],
  "Which checkpoint: the one that the run reports, the last, or the best on the target's labels.",
)

# --- export ---
FORMAT = flags.DEFINE_enum(
  "format",
  "stablehlo",
  ["stablehlo", "safetensors"],
  "What is written: a program for `jax.export`, or weights with the names of the reference implementations.",
)
PLATFORMS = flags.DEFINE_list(
  "platforms", ["cpu", "cuda"], "Platforms of the exported program: cpu, cuda, rocm, tpu."
)
IMAGE_SIZE = flags.DEFINE_string(
  "image_size",
  "",
  "HEIGHT,WIDTH. export: of the images that the program takes; empty: those on which the run was scored. "
  "import-weights: images are fitted into it for the network; empty: they keep their size.",
)

# --- report ---
WATCH = flags.DEFINE_bool("watch", False, "Write the page anew every 20 seconds.")

# --- plan ---
TOPOLOGY = flags.DEFINE_string(
  "topology",
  "",
  "TPU slice to plan for, which need not be there, e.g. v5e:4x4; needs the extra `plan`.",
)

# --- benchmark ---
METHODS = flags.DEFINE_list("methods", None, "Names that the recipe's argument `method` takes.")
SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Training seeds.")

# --- predict ---
IMAGES = flags.DEFINE_string(
  "images",
  None,
  "Image files, videos, folders of images, e.g. of a test set, or a list of them, @list.txt; several with "
  "commas, and * for any part of a name.",
)
IMAGE_SUFFIX = flags.DEFINE_string(
  "image_suffix",
  "",
  "How the names of images in folders end before the dot, e.g. _rgb_anon; others are left out.",
)
OVERLAY = flags.DEFINE_bool("overlay", False, "Also write the images with the classes over them.")
CONFIDENCE = flags.DEFINE_bool(
  "confidence", False, "Also write grey PNGs: 0 to 255 for a confidence of 0 to 1."
)
IDS = flags.DEFINE_enum(
  "ids",
  "train",
  ["train", "cityscapes"],
  "The ids that are written, train ids 0, 1, 2, …, or Cityscapes' label ids, which its server wants.",
)
SERVER = flags.DEFINE_enum(
  "server",
  None,
  ["dark_zurich", "acdc", "cityscapes"],
  "Write the ids that this server wants into a new folder, with a zip to hand in.",
)

# --- prepare ---
DATASET = flags.DEFINE_string(
  "dataset",
  None,
  "gta5, synthia, synscapes, cityscapes, dark_zurich, acdc, nighttime_driving, bdd100k, mapillary, wilddash2 or camvid, "
  "with arguments after a colon, e.g. dark_zurich:role=target,day_images or acdc:train=night/train.",
)
MANUAL_DIR = flags.DEFINE_string("manual_dir", None, "Folder of --dataset, as its archives unpack.")
SIZE = flags.DEFINE_string(
  "size",
  "",
  "HEIGHT,WIDTH into which images are fitted, or full; empty: as the usual recipes do.",
)
DATA_DIR = flags.DEFINE_string(
  "data_dir", "~/.cache/jax_uda", "Folder of the prepared data sets; config.data.dir of the runs."
)
ON_ERROR = flags.DEFINE_enum(
  "on_error",
  "stop",
  ["stop", "skip"],
  "What to do at a file that cannot be used; skip: name it and go on.",
)
