//! Every layout that is read, as a small tree.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use super::touch;

/// A layout: the reader's name and a function that writes a tree and returns its source.
pub(crate) type Layout = (&'static str, fn(&Path) -> PathBuf);

/// One tree for each reader and form.
pub(crate) const LAYOUTS: [Layout; 11] = [
    ("online_products", online_products),
    ("cub200", cub200),
    ("cars196", cars_whole),
    ("cars196", cars_parts),
    ("cars196", cars_folders),
    ("in_shop", in_shop),
    ("inaturalist", |folder| inaturalist(folder, true)),
    ("inaturalist", |folder| inaturalist(folder, false)),
    ("vehicle_id", vehicle_id),
    ("manifest", manifest),
    ("folder", folder),
];

pub(crate) fn write(path: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub(crate) fn online_products(folder: &Path) -> PathBuf {
    let root = folder.join("Stanford_Online_Products");
    for (list, first) in [("Ebay_train.txt", 1), ("Ebay_test.txt", 9)] {
        let mut text = String::from("image_id class_id super_class_id path\n");
        for image in 0..24 {
            let (class, group) = (first + image / 3, 1 + image / 12);
            let name = format!("kind{group}_final/{class}_{}.JPG", image % 3);
            touch(&root.join(&name));
            writeln!(text, "{} {class} {group} {name}", 100 * first + image).unwrap();
        }
        write(&root.join(list), text);
    }
    root
}

/// 102 classes of 2 images.
pub(crate) fn cub200(folder: &Path) -> PathBuf {
    let root = folder.join("CUB_200_2011");
    let [mut images, mut labels, mut classes, mut boxes] = [const { String::new() }; 4];
    for image in 1..=204 {
        let class = (image + 1) / 2;
        let name = format!("{class:03}.Bird/Bird_{image:04}.jpg");
        touch(&root.join("images").join(&name));
        writeln!(images, "{image} {name}").unwrap();
        writeln!(labels, "{image} {class}").unwrap();
        writeln!(boxes, "{image} 60.5 27.0 10.0 {image}.0").unwrap();
        if image % 2 == 0 {
            writeln!(classes, "{class} {class:03}.Bird").unwrap();
        }
    }
    write(&root.join("images.txt"), images);
    write(&root.join("image_class_labels.txt"), labels);
    write(&root.join("classes.txt"), classes);
    write(&root.join("bounding_boxes.txt"), boxes);
    root
}

/// The annotations that `tests/data` holds, as SciPy wrote them.
pub(crate) fn cars_mat(compressed: bool) -> Vec<u8> {
    let name = if compressed { "cars_annos_compressed.mat" } else { "cars_annos_plain.mat" };
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap()
}

pub(crate) fn cars_whole(folder: &Path) -> PathBuf {
    let root = folder.join("cars196");
    write(&root.join("cars_annos.mat"), cars_mat(true));
    for image in 1..=6 {
        touch(&root.join(format!("car_ims/00000{image}.jpg")));
    }
    root
}

/// The two folders and the development kit, whose annotations name the file only.
pub(crate) fn cars_parts(folder: &Path) -> PathBuf {
    let root = folder.join("stanford_cars");
    let annotations = |names: &[(&str, u8)]| {
        let entries: Vec<_> = names.iter().map(|&(name, class)| (name, class)).collect();
        super::mat::annotations("fname", &entries)
    };
    let train = annotations(&[("00001.jpg", 1), ("00002.jpg", 99), ("00003.jpg", 99)]);
    let test = annotations(&[("00001.jpg", 1), ("00002.jpg", 2), ("00003.jpg", 2)]);
    write(&root.join("devkit/cars_train_annos.mat"), train);
    write(&root.join("devkit/cars_test_annos_withlabels.mat"), test);
    for image in 1..=3 {
        touch(&root.join(format!("cars_train/0000{image}.jpg")));
        touch(&root.join(format!("cars_test/0000{image}.jpg")));
    }
    root
}

/// 100 classes of an image in each folder.
pub(crate) fn cars_folders(folder: &Path) -> PathBuf {
    for class in 0..100 {
        for split in ["train", "test"] {
            let name = format!("car_data/car_data/{split}/Make {class:03}/{class}.jpg");
            touch(&folder.join(name));
        }
    }
    folder.to_owned()
}

pub(crate) const IN_SHOP: [(&str, &str, &str); 13] = [
    ("img/WOMEN/Dresses/id_00000004/02_1_front.jpg", "id_00000004", "train"),
    ("img/WOMEN/Dresses/id_00000004/02_2_side.jpg", "id_00000004", "train"),
    ("img/MEN/Denim/id_00000082/01_1_front.jpg", "id_00000082", "train"),
    ("img/MEN/Denim/id_00000082/01_2_side.jpg", "id_00000082", "train"),
    ("img/WOMEN/Dresses/id_00000002/02_1_front.jpg", "id_00000002", "train"),
    ("img/WOMEN/Dresses/id_00000002/02_2_side.jpg", "id_00000002", "train"),
    ("img/MEN/Denim/id_00000080/01_1_front.jpg", "id_00000080", "train"),
    ("img/MEN/Denim/id_00000080/01_2_side.jpg", "id_00000080", "train"),
    ("img/MEN/Denim/id_00000081/01_1_front.jpg", "id_00000081", "query"),
    ("img/MEN/Denim/id_00000081/01_3_back.jpg", "id_00000081", "gallery"),
    ("img/WOMEN/Skirts/id_00000001/02_1_front.jpg", "id_00000001", "query"),
    ("img/WOMEN/Skirts/id_00000001/02_3_back.jpg", "id_00000001", "gallery"),
    ("img/WOMEN/Skirts/id_00000003/02_3_back.jpg", "id_00000003", "gallery"),
];

pub(crate) fn in_shop(folder: &Path) -> PathBuf {
    let count = IN_SHOP.len();
    let mut partition = format!("{count}\nimage_name item_id evaluation_status\n");
    let mut boxes = format!("{count}\nimage_name clothes_type pose_type x_1 y_1 x_2 y_2\n");
    for (line, (name, item, status)) in IN_SHOP.into_iter().enumerate() {
        touch(&folder.join("Img").join(name));
        writeln!(partition, "{name}    {item}      {status}").unwrap();
        writeln!(boxes, "{name}  1 1 050 {line:03} 208 182").unwrap();
    }
    write(&folder.join("Eval/list_eval_partition.txt"), partition);
    write(&folder.join("Anno/list_bbox_inshop.txt"), boxes);
    folder.to_owned()
}

/// Four training and two test species of two images, with or without the JSON annotations.
pub(crate) fn inaturalist(folder: &Path, annotated: bool) -> PathBuf {
    let root = folder.join("inaturalist");
    let species = [
        ("Plantae", 7477),
        ("Aves", 12),
        ("Plantae", 8),
        ("Aves", 13),
        ("Plantae", 9),
        ("Aves", 100),
    ];
    let (mut lists, mut images, mut annotations) = ([const { String::new() }; 2], vec![], vec![]);
    for (place, (kind, category)) in species.into_iter().enumerate() {
        for n in 0..2 {
            let (id, name) = (10 * place + n, format!("train_val2018/{kind}/{category}/{n}ab.jpg"));
            touch(&root.join(&name));
            writeln!(lists[place / 4], "{name}").unwrap();
            images.push(format!(
                r#"{{"license": 3, "file_name": "{name}", "rights_holder": "K", "id": {id}}}"#
            ));
            annotations
                .push(format!(r#"{{"id": {id}, "image_id": {id}, "category_id": {category}}}"#));
        }
    }
    let [train, test] = lists;
    write(&root.join("Inat_dataset_splits/Inaturalist_train_set1.txt"), train);
    write(&root.join("Inat_dataset_splits/Inaturalist_test_set1.txt"), test);
    if annotated {
        let categories = species.map(|(kind, category)| {
            format!(r#"{{"id": {category}, "name": "{category}", "supercategory": "{kind}"}}"#)
        });
        for (file, half) in [("train2018.json", 0..7), ("val2018.json", 7..12)] {
            let json = format!(
                r#"{{"info": {{"year": 2018}}, "images": [{}], "annotations": [{}], "licenses": [],
                "categories": [{}]}}"#,
                images[half.clone()].join(","),
                annotations[half].join(","),
                categories.join(",\n")
            );
            write(&root.join(file), json);
        }
    }
    root
}

/// Vehicles of three images; the larger test lists hold those of the smaller.
pub(crate) fn vehicle_id(folder: &Path) -> PathBuf {
    let root = folder.join("VehicleID_V1.0");
    let lists = [("train_list", 1..5), ("test_list_800", 5..7), ("test_list_1600", 5..9)];
    for (list, vehicles) in lists {
        let mut text = String::new();
        for vehicle in vehicles {
            for n in 0..3 {
                let image = format!("{:07}", 10 * vehicle + n);
                touch(&root.join(format!("image/{image}.jpg")));
                writeln!(text, "{image} {vehicle}").unwrap();
            }
        }
        write(&root.join(format!("train_test_split/{list}.txt")), text);
    }
    root
}

pub(crate) fn manifest(folder: &Path) -> PathBuf {
    let mut text =
        String::from("path,label,split,category,super_label,is_query,is_gallery,x1,y1,x2,y2\n");
    for image in 0..16 {
        let name = format!("img/{image}.png");
        touch(&folder.join(&name));
        let (class, split) = (image / 2, ["train", "train", "test", "test-b"][image / 4]);
        let roles = match (split, image % 2) {
            ("train", _) => ",",
            (_, 0) => "True,True",
            _ => "False,True",
        };
        let region = if image % 3 == 0 { "1,2,30,40" } else { ",,," };
        let kind = if image == 1 { "" } else { "mug" };
        writeln!(text, "{name},c{class},{split},{kind},{},{roles},{region}", 1 + class % 2)
            .unwrap();
    }
    let path = folder.join("manifest.csv");
    write(&path, text);
    path
}

pub(crate) fn folder(folder: &Path) -> PathBuf {
    for class in 0..8 {
        for n in 0..3 {
            touch(&folder.join(format!("photos/class {class}/{n}.jpg")));
        }
    }
    folder.join("photos")
}
