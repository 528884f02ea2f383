"""Writes the two small MAT files beside it, as SciPy's savemat does: annotations in the fields of
Cars196, compressed and not. Run with SciPy 1.17 in this folder."""

import numpy as np
import scipy.io

FIELDS = ["relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test"]
rows = [
    ("car_ims/000001.jpg", 112, 7, 853, 717, 1, 0),
    ("car_ims/000002.jpg", 48, 24, 441, 202, 1, 1),
    ("car_ims/000003.jpg", 7, 4, 277, 180, 98, 0),
    ("car_ims/000004.jpg", 33, 50, 197, 150, 99, 0),
    ("car_ims/000005.jpg", 5, 8, 83, 58, 100, 1),
    ("car_ims/000006.jpg", 2, 2, 300, 200, 98, 1),
]
annotations = np.zeros((1, len(rows)), dtype=[(name, object) for name in FIELDS])
for i, row in enumerate(rows):
    box = [np.array([[value]], dtype=np.uint16) for value in row[1:5]]
    label = np.array([[row[5]]], dtype=np.uint8)
    annotations[0, i] = (row[0], *box, label, np.array([[row[6]]], dtype=np.uint8))
names = np.zeros((1, 100), dtype=object)
names[0, :] = [f"Make Model {i} 2012" for i in range(1, 101)]
both = {"annotations": annotations, "class_names": names}
scipy.io.savemat("cars_annos_compressed.mat", both, do_compression=True)
scipy.io.savemat("cars_annos_plain.mat", both, do_compression=False)
