"""Data sets: embedded ones, endless ones that are made on access, and downloads that are checked against a checksum."""

from selectlib.data._backdrop import backdrop_digits
from selectlib.data._books import load_books
from selectlib.data._c4 import C4Place, C4Texts, load_c4
from selectlib.data._cifar import load_cifar10
from selectlib.data._designs import make_ar1, make_block_correlated, make_parity, make_suppressor
from selectlib.data._digit_domains import digit_domains
from selectlib.data._digit_pairs import DigitPairs, digit_pair_views, make_digit_pairs
from selectlib.data._digits import load_digits
from selectlib.data._doc_topics import load_doc_topics
from selectlib.data._domain_shift import DomainShift
from selectlib.data._dsdm_targets import TargetTask, load_targets
from selectlib.data._feature_sets import FeatureSet, load_arcene, load_madelon
from selectlib.data._few_shot_images import FewShotImages
from selectlib.data._few_shot_lists import load_domainnet_sketch, load_mini_imagenet
from selectlib.data._flaws import FlawedPool, imbalanced, with_duplicates, with_outliers, with_wrong_labels
from selectlib.data._image_folder import image_folder
from selectlib.data._image_lists import ListedImages, image_list
from selectlib.data._images import LabeledImages
from selectlib.data._infinite import InfiniteDigits, infinite_digits
from selectlib.data._intents import load_banking77, load_clinc150
from selectlib.data._isolet import load_isolet
from selectlib.data._labeled_features import LabeledFeatures
from selectlib.data._labeled_texts import LabeledTexts
from selectlib.data._linear_tasks import LinearTasks, make_linear_tasks
from selectlib.data._meta_dataset import load_meta_dataset
from selectlib.data._mnist import load_mnist_test
from selectlib.data._office_caltech import load_office_caltech
from selectlib.data._omniglot import Characters, load_omniglot_small
from selectlib.data._optdigits import load_optdigits
from selectlib.data._package_texts import package_texts
from selectlib.data._pairs import Encoder, encode_pairs
from selectlib.data._patches import PhotoPatches, photo_patches
from selectlib.data._pg19 import load_pg19
from selectlib.data._probes import add_probes
from selectlib.data._reversal import PlantedReversal, planted_reversal
from selectlib.data._sentences import load_sentences
from selectlib.data._shakespeare import load_tinyshakespeare
from selectlib.data._shifted_digits import shifted_digits
from selectlib.data._source_corpus import SourceCorpus, source_corpus
from selectlib.data._svmlight import load_svmlight
from selectlib.data._texts import Texts
from selectlib.data._tokens import sequences, train_bpe
from selectlib.data._topics import topic_texts
from selectlib.data._transform_domain import transform_domain
from selectlib.data._usps import load_usps
from selectlib.data._wikitext import load_wikitext

__all__ = [
    "C4Place",
    "C4Texts",
    "Characters",
    "DigitPairs",
    "DomainShift",
    "Encoder",
    "FeatureSet",
    "FewShotImages",
    "FlawedPool",
    "InfiniteDigits",
    "LabeledFeatures",
    "LabeledImages",
    "LabeledTexts",
    "LinearTasks",
    "ListedImages",
    "PhotoPatches",
    "PlantedReversal",
    "SourceCorpus",
    "TargetTask",
    "Texts",
    "add_probes",
    "backdrop_digits",
    "digit_domains",
    "digit_pair_views",
    "encode_pairs",
    "image_folder",
    "image_list",
    "imbalanced",
    "infinite_digits",
    "load_arcene",
    "load_banking77",
    "load_books",
    "load_c4",
    "load_cifar10",
    "load_clinc150",
    "load_digits",
    "load_doc_topics",
    "load_domainnet_sketch",
    "load_isolet",
    "load_madelon",
    "load_meta_dataset",
    "load_mini_imagenet",
    "load_mnist_test",
    "load_office_caltech",
    "load_omniglot_small",
    "load_optdigits",
    "load_pg19",
    "load_sentences",
    "load_svmlight",
    "load_targets",
    "load_tinyshakespeare",
    "load_usps",
    "load_wikitext",
    "make_ar1",
    "make_block_correlated",
    "make_digit_pairs",
    "make_linear_tasks",
    "make_parity",
    "make_suppressor",
    "package_texts",
    "photo_patches",
    "planted_reversal",
    "sequences",
    "shifted_digits",
    "source_corpus",
    "topic_texts",
    "train_bpe",
    "transform_domain",
    "with_duplicates",
    "with_outliers",
    "with_wrong_labels",
]
