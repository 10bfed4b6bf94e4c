"""Sigmas, timesteps, and what the UNet's output means."""

from __future__ import annotations

import torch

from common.nn.schedule import alphas_cumprod


class Prediction(torch.nn.Module):
    def __init__(self, sigma_data: float = 1.0, prediction_type: str = "epsilon") -> None:
        super().__init__()
        self.sigma_data = sigma_data
        self.prediction_type = prediction_type
        alphas = alphas_cumprod()
        self.register_buffer("alphas_cumprod", alphas)
        self.set_sigmas(((1 - alphas) / alphas) ** 0.5)

    def set_sigmas(self, sigmas: torch.Tensor) -> None:
        self.register_buffer("sigmas", sigmas.float())
        self.register_buffer("log_sigmas", sigmas.log().float())

    @property
    def sigma_min(self) -> torch.Tensor:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> torch.Tensor:
        return self.sigmas[-1]

    def timestep(self, sigma: torch.Tensor) -> torch.Tensor:
        """The nearest of the thousand."""
        distances = (sigma.log().to(self.log_sigmas.device).flatten() - self.log_sigmas[:, None]).abs()
        return distances.argmin(dim=0).view(sigma.shape).to(sigma.device)

    def sigma(self, timestep: torch.Tensor) -> torch.Tensor:
        t = timestep.float().to(self.log_sigmas.device).clamp(0, len(self.sigmas) - 1)
        low, high, part = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - part) * self.log_sigmas[low] + part * self.log_sigmas[high]).exp().to(timestep.device)

    @staticmethod
    def _spread(sigma: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return sigma.view(sigma.shape[:1] + (1,) * (like.ndim - 1))

    def calculate_input(self, sigma: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        return noise / (self._spread(sigma, noise) ** 2 + self.sigma_data**2) ** 0.5

    def calculate_denoised(self, sigma: torch.Tensor, model_output: torch.Tensor,
                           model_input: torch.Tensor) -> torch.Tensor:
        sigma = self._spread(sigma, model_output)
        if self.prediction_type == "v_prediction":
            total = sigma**2 + self.sigma_data**2
            return model_input * self.sigma_data**2 / total - model_output * sigma * self.sigma_data / total**0.5
        return model_input - model_output * sigma

    def noise_scaling(self, sigma: torch.Tensor, noise: torch.Tensor, latent_image: torch.Tensor) -> torch.Tensor:
        return latent_image + noise * sigma
