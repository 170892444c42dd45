"""A Gaussian process kernel on the coefficients of latents, for BoTorch models."""

try:
    import botorch as _botorch  # noqa: F401
except ImportError as error:
    from surrogate_ax.errors import MissingExtraError

    raise MissingExtraError("surrogate_ax_botorch needs BoTorch: pip install 'surrogate-ax[botorch]'.") from error

__all__: list[str] = []
