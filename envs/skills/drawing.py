"""A numeric session as text or as a picture."""

from typing import Any

from envs.skills.sessions import Sessions

RENDER_MODES = ["ansi", "rgb_array", "human"]  # "human" is text, printed at every reset and step


def frame(mode: str, sessions: Sessions, place: int) -> Any:
    """Session `place`: text of a dashboard, or a picture (H, W, 3) uint8 where `mode` is "rgb_array"."""
    view = sessions.view(place)
    if mode == "rgb_array":
        from envs.pictures import session_picture  # matplotlib is paid for by those who look

        return session_picture(view, view.person, (), "")
    from envs.rendering import skills_dashboard

    if view.scores is None or sessions.seen is None:
        return skills_dashboard(view, None, None)
    emphasis = sessions.response.within_budget(sessions.seen.emphasis[place])
    return skills_dashboard(view, view.scores[0].tolist(), emphasis.tolist())
