"""The file that `trust_remote_code=True` runs first in this folder; it loads the generated code beside it.

The model's code is not committed here: it is generated from the package's sources. Where it is missing, the error names
the command that writes it.
"""

from transformers.dynamic_module_utils import get_class_from_dynamic_module


class PlannedDiffusionConfig:
    """The class that auto_map names; it hands over to the generated class of the same name."""

    @classmethod
    def register_for_auto_class(cls, auto_class="AutoConfig"):
        """Do nothing: `from_pretrained` registers the generated class."""

    @classmethod
    def from_pretrained(cls, folder, **kwargs):
        """Return the configuration of this checkpoint.

        Raises:
            OSError: the generated code is missing.
        """
        try:
            generated = get_class_from_dynamic_module(
                "configuration_planned_diffusion.PlannedDiffusionConfig", folder, **kwargs
            )
        except OSError as error:
            raise OSError(
                f"{folder} lacks the model's code, which is generated and not committed; run make demo in the "
                f"repository, or python hub/flat.py {folder}"
            ) from error
        generated.register_for_auto_class()
        return generated.from_pretrained(folder, **kwargs)
