"""MS-SSIM on the 24 Kodak pictures that papers report, read off their published curves: bits per pixel to mean MS-SSIM."""

KODAK_MS_SSIM: dict[str, dict[float, float]] = {
    "Toderici 2017, raw bits (1608.05148)": {0.125: 0.8191, 0.25: 0.9037, 0.5: 0.9538, 1.0: 0.9796},
    "Johnston 2018 (1703.10114)": {0.125: 0.9071, 0.25: 0.9486, 0.5: 0.9736, 1.0: 0.9879},
    "DPICT 2022, progressive (2112.06334)": {0.125: 0.9178, 0.25: 0.9542, 0.5: 0.9781, 1.0: 0.9904},
    "hyperprior 2018, MS-SSIM (1802.01436)": {0.125: 0.9402, 0.25: 0.9693, 0.5: 0.9855, 1.0: 0.9940},
    "Cheng 2020, MS-SSIM (2001.01568)": {0.125: 0.9528, 0.25: 0.9767, 0.5: 0.9895},
}
