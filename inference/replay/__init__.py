"""Replays of recorded answers."""

from .page import replay_page as replay_page
