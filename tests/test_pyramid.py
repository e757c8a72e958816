"""Means and differences of neighbours: as many numbers, as long together, and back again."""

import pytest
import torch

from neurocodec.models.pyramid import GRID, join, split


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (2, 3), (4, 4), (5, 7), (12, 9)])
def test_a_pyramid_is_undone(size):
    maps = torch.randn(2, 3, *size)
    assert split(maps).shape == maps.shape
    torch.testing.assert_close(join(split(maps)), maps)


def test_it_is_orthonormal():
    basis = split(torch.eye(64).view(64, 1, 8, 8)).flatten(1)
    torch.testing.assert_close(basis @ basis.T, torch.eye(64))


@pytest.mark.parametrize("size", [(8, 12), (6, 7)])
def test_what_is_alike_everywhere_is_means_alone(size):
    maps = split(torch.ones(1, 1, *size))[0, 0]
    torch.testing.assert_close(maps[::GRID, ::GRID], torch.full_like(maps[::GRID, ::GRID], GRID))
    maps[::GRID, ::GRID] = 0
    assert maps.abs().max() < 1e-6


def test_a_part_that_begins_on_the_grid_is_part_of_the_whole():
    maps = torch.randn(1, 2, 11, 10)
    torch.testing.assert_close(split(maps[:, :, GRID:, 2 * GRID :]), split(maps)[:, :, GRID:, 2 * GRID :])
    torch.testing.assert_close(join(maps[:, :, : 2 * GRID]), join(maps)[:, :, : 2 * GRID])
