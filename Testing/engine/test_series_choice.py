"""Which series of a study suits a model, by what is known of it before it is read."""

from dataclasses import replace

import pytest

from llmboost.card import Label, Preprocessing, read_card
from llmboost.errors import LLMBoostError
from llmboost.library import find
from llmboost.studies import Selection, SeriesFacts, parse_rule

HEAD = {"modality": "MR", "study": "MR BRAIN", "extent": (180.0, 220.0, 200.0), "kinds": ("ORIGINAL", "PRIMARY")}
FINE = {"spacing": (1.0, 1.0, 1.0), "across": 0, "thickness": 1.0, "slices": 180}
THICK = {"spacing": (6.0, 1.0, 1.0), "across": 0, "thickness": 5.0, "slices": 30}
AXIAL = {"spacing": (0.9, 0.9, 5.0), "across": 2, "thickness": 5.0, "slices": 40}
T1 = SeriesFacts(3, "t1_mprage_sag_p2_iso", **HEAD, **FINE)
STUDY = [
    SeriesFacts(1, "AAHead_Scout", **HEAD | {"kinds": ("ORIGINAL", "PRIMARY", "M")}, **FINE),
    SeriesFacts(2, "T1 SE SAG", **HEAD, **THICK),
    T1,
    SeriesFacts(4, "T2 TSE AX", **HEAD, **AXIAL),
    SeriesFacts(5, "3D FLAIR SAG", **HEAD, **FINE),
    SeriesFacts(6, "t1_mprage_tra", **HEAD | {"kinds": ("DERIVED", "SECONDARY", "MPR")}, **FINE),
    SeriesFacts(99, "Report", modality="SR", no_image="no image (Comprehensive SR)"),
]


@pytest.fixture(scope="module")
def hippocampus():
    return read_card(find("hippocampus"))


@pytest.fixture(scope="module")
def brain():
    return read_card(find("brain-1mm"))


@pytest.fixture(scope="module")
def spleen(brain):
    steps = Preprocessing(spacing=(1.5, 1.5, 2.0), patch_size=(96, 96, 96))
    return replace(
        brain,
        title="Spleen in CT",
        description="Portal venous phase.",
        modality="CT",
        labels=(Label(1, "Spleen", (1, 2, 3)),),
        preprocessing=steps,
        cascade=None,
    )


def chosen(card, series, text="auto"):
    choice = Selection.of(text, card).choose(series, card.preprocessing)
    return [series[n].number for n in choice.taken], {series[n].number: why for n, why in choice.left}, choice.doubt


def test_of_a_study_the_original_fine_t1_is_taken_and_each_other_left_with_a_reason(hippocampus):
    taken, left, doubt = chosen(hippocampus, STUDY)
    assert taken == [3]
    assert doubt == ""
    assert left == {
        1: "a localizer",
        2: "6 mm, the model works at 1 mm",
        4: "5 mm, the model works at 1 mm",
        5: "FLAIR, the model's card names T1",
        6: "reformatted",
        99: "no image (Comprehensive SR)",
    }
    assert chosen(hippocampus, STUDY[::-1])[0] == [3], "whatever their order"


def test_what_is_best_missing_the_next_best_is_taken(hippocampus):
    without = [one for one in STUDY if one is not T1]
    assert chosen(hippocampus, without)[0] == [5], "a fine FLAIR before a thick T1"
    assert chosen(hippocampus, [STUDY[0], STUDY[1], STUDY[3], STUDY[6]])[0] == [2], "of two thick ones the T1"
    damaged = [replace(one, problem="broken") if one is T1 else one for one in STUDY]
    assert chosen(hippocampus, damaged)[0] == [5]
    assert chosen(hippocampus, [STUDY[0], STUDY[6]])[0] == []


def test_a_tie_that_nothing_settles_is_told(brain):
    again = [T1, replace(T1, number=8)]
    taken, left, doubt = chosen(brain, again)
    assert (taken, left) == ([3], {8: "suits as well"})
    assert doubt.startswith("2 series suit equally well: 3: MR 't1_mprage_sag_p2_iso' was taken, not 8: MR")
    assert "--series" in doubt
    assert chosen(brain, [T1, replace(T1, number=8, description="T1 post GD")])[2] == "", "that is a reason"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"modality": "CT"}, "CT, the model takes MR"),
        ({"description": "SAG KNEE PD"}, "of the knee, the model is for the head"),
        ({"description": "ADC"}, "a computed map"),
        ({"description": "ep2d", "kinds": ("DERIVED", "PRIMARY", "ADC")}, "a computed map"),
        ({"description": "MRA MIP"}, "a projection"),
        ({"kinds": ("DERIVED", "SECONDARY", "PROJECTION IMAGE")}, "a projection"),
        ({"kinds": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, "a localizer"),
        ({"kinds": ("DERIVED", "SECONDARY", "SCREEN SAVE")}, "a screen shot"),
        ({"color": True}, "in color"),
        ({"placed": False, "slices": 20}, "without a place in the body"),
        ({"slices": 1}, "a single slice"),
        ({"orientations": 3}, "slices of 3 orientations"),
        ({"problem": "a.dcm: damaged"}, "a.dcm: damaged"),
    ],
)
def test_what_does_not_suit(brain, changed, why):
    taken, left, _ = chosen(brain, [replace(T1, **changed)])
    assert taken == []
    assert left == {3: why}
    assert chosen(brain, [replace(T1, **changed), replace(T1, number=4)])[0] == [4]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"volumes": 4}, "4 images of each place"),
        ({"description": "ep2d_diff_b1000"}, "diffusion, the model's card names T1, FLAIR"),
        ({"description": "t2_FLAIR_sag"}, "FLAIR, the model's card names T1 first"),
        ({"description": "T2 SPACE"}, "T2, the model's card names T1, FLAIR"),
        ({"description": "t1_mprage post KM"}, "with contrast agent"),
        ({"agent": "Dotarem"}, "with contrast agent"),
        ({"spacing": (1.4, 1.0, 1.0)}, "1.4 mm, the model works at 1 mm"),
        ({"extent": (10.0, 220.0, 200.0)}, "covers little of what the model looks at"),
        ({"extent": (120.0, 160.0, 150.0)}, "covers less"),
        ({"thickness": 0.6}, "gaps between its slices"),
        ({"spacing": None, "extent": None}, "of unknown spacing"),
    ],
)
def test_by_what_one_is_worse_than_another(brain, changed, why):
    taken, left, doubt = chosen(brain, [replace(T1, **changed), replace(T1, number=4)])
    assert (taken, left, doubt) == ([4], {3: why}, "")
    assert chosen(brain, [replace(T1, **changed)])[0] == [3], "alone, it will do"


def test_of_a_ct_study_the_soft_thin_volume_is_taken(spleen):
    body = {"modality": "CT", "study": "CT Abdomen", "extent": (400.0, 400.0, 400.0), "kinds": ("ORIGINAL", "PRIMARY")}
    thin = {"spacing": (0.8, 0.8, 1.5), "across": 2, "slices": 260, "thickness": 1.5}
    thick = thin | {"spacing": (0.8, 0.8, 5.0), "slices": 80, "thickness": 5.0}
    series = [
        SeriesFacts(1, "Topogram 0.6 T20s", **body | {"kinds": ("ORIGINAL", "PRIMARY", "LOCALIZER")}, slices=2),
        SeriesFacts(2, "Abd 5.0 B30f", **body, **thick, kernel="B30f"),
        SeriesFacts(3, "Abd 1.5 B70f", **body, **thin, kernel="B70f"),
        SeriesFacts(4, "Abd 1.5 B30f", **body, **thin, kernel="B30f"),
        SeriesFacts(5, "Abd cor MPR", **body | {"kinds": ("DERIVED", "SECONDARY", "AXIAL", "MPR")}, **thin),
        SeriesFacts(501, "Patient Protocol", modality="CT", placed=False, slices=1),
    ]
    taken, left, doubt = chosen(spleen, series)
    assert (taken, doubt) == ([4], "")
    assert left == {
        1: "a localizer",
        2: "5 mm, the model works at 2 mm",
        3: "reconstructed for bone",
        5: "reformatted",
        501: "without a place in the body; a dose report or protocol",
    }


def test_a_model_of_slices_wants_them_across_its_axis(spleen):
    flat = replace(spleen, preprocessing=Preprocessing(patch_size=(64, 64, 1)))
    body = {"modality": "CT", "kinds": ("ORIGINAL",), "extent": (300.0,) * 3, "slices": 80}
    axial = SeriesFacts(4, "ax", **body, across=2, spacing=(1.0, 1.0, 5.0))
    coronal = SeriesFacts(3, "cor", **body, across=1, spacing=(1.0, 5.0, 1.0))
    assert chosen(flat, [coronal, axial])[0] == [4], "slices may be as far apart as they like"
    pictures = [SeriesFacts(n, "", "", "CT", placed=False, slices=1) for n in (1, 2)]
    assert chosen(flat, pictures)[0] == [1, 2], "of pictures, each is an image of its own"
    assert chosen(flat, [*pictures, axial])[0] == [4]


def test_all_takes_what_suits(brain):
    assert chosen(brain, STUDY, "all")[0] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ("modality=MR & description~T1 & thickness<2", [3]),
        ("description~flair", [5]),
        ("description~t1 & type=DERIVED", [6]),
        ("plane=axial", [4]),
        ("number=2|number=4", [2]),
        ("description~'t2 tse' & slices>=40", [4]),
        ("description!~mprage & spacing<=1 & plane!=axial & thickness<2", [5]),
        ("thickness>90", []),
        ("modality=CT", []),
        ("modality = mri & number > 3 & number < 5", [4]),
    ],
)
def test_a_rule_says_which_and_of_those_the_best_is_taken(hippocampus, rule, numbers):
    taken, left, _ = chosen(hippocampus, STUDY, rule)
    assert taken == numbers
    assert set(left) | set(taken) == {one.number for one in STUDY}


def test_what_a_rule_speaks_of_the_card_has_no_say_in(hippocampus):
    ct = replace(T1, modality="CT")
    assert chosen(hippocampus, [ct], "thickness<2")[0] == []
    assert chosen(hippocampus, [ct], "modality=CT")[0] == [3]
    assert chosen(hippocampus, STUDY, "number=1")[0] == []
    assert chosen(hippocampus, STUDY, "description~scout")[0] == [1], "whoever names it wants it"
    assert chosen(hippocampus, STUDY, "description~report")[0] == [], "but a report is no image"


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        ("description~", "a value is missing after 'description~'"),
        ("colour=red", "'colour' is no word of a rule"),
        ("modality<MR", "'modality' is text"),
        ("thickness~2", "'thickness' is a number"),
        ("thickness<thin", "'thin' is no number"),
        ("modality=MR &", "a comparison is missing at ''"),
        ("& modality=MR", "a comparison is missing at '& modality=MR'"),
        ("modality=MR description~'T1'", "cannot be read; join comparisons by & or |"),
        ("__import__('os').system('x')=1", "a comparison is missing"),
    ],
)
def test_a_rule_that_is_none_is_one_clear_error(rule, problem):
    with pytest.raises(LLMBoostError) as caught:
        parse_rule(rule)
    message = str(caught.value)
    assert problem in message
    assert message.startswith("--series")
    assert "for example" in message
    assert "\n" not in message


def test_what_is_no_rule_names_a_series():
    assert Selection.of("1.2.3.4#2").name == "1.2.3.4#2"
    assert Selection.of("4").name == "4"
    assert Selection.of("auto") == Selection()
