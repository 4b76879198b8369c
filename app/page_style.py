"""The look of Gradio's own components: quiet, with the fonts of the system, in light and dark."""

from gradio.themes import Base, ThemeClass
from gradio.themes.utils import colors, sizes

SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def page_theme() -> ThemeClass:
    """Return the theme; page.css has the rest."""
    theme = Base(
        primary_hue=colors.indigo,
        neutral_hue=colors.stone,
        text_size=sizes.text_md,
        radius_size=sizes.radius_md,
        font=SANS,
        font_mono=MONO,
    )
    return theme.set(
        body_background_fill="#faf9f7",
        body_background_fill_dark="#16161a",
        block_background_fill="transparent",
        block_background_fill_dark="transparent",
        block_border_width="0px",
        block_shadow="none",
        block_padding="0",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_title_background_fill="transparent",
        block_title_background_fill_dark="transparent",
        block_title_text_color="#6b6963",
        block_title_text_color_dark="#9d9ba3",
        input_border_width="1px",
        input_background_fill="#ffffff",
        input_background_fill_dark="#1f1f25",
        input_border_color="#dcd9d3",
        input_border_color_dark="#3a3a44",
        button_primary_background_fill="#1f2937",
        button_primary_background_fill_dark="#e5e7eb",
        button_primary_background_fill_hover="#374151",
        button_primary_background_fill_hover_dark="#ffffff",
        button_primary_border_color="transparent",
        button_primary_border_color_dark="transparent",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#16161a",
        button_secondary_background_fill="transparent",
        button_secondary_background_fill_dark="transparent",
        button_secondary_background_fill_hover="#efece6",
        button_secondary_background_fill_hover_dark="#26262d",
        button_secondary_border_color="#dcd9d3",
        button_secondary_border_color_dark="#3a3a44",
        button_border_width="1px",
        button_large_text_size="15px",
        button_large_padding="9px 18px",
    )
