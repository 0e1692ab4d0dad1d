"""The shipped recipes hold the settings that the paper and the authors' released commands give."""

from __future__ import annotations

from hsta_hf.ablation.dry_run import build_without_weights
from hsta_hf.training.recipe import load_recipe


def test_the_paper_recipe_is_section_4_1_of_the_paper():
    recipe = load_recipe("casme3_paper")
    training = recipe.training
    assert training.per_device_train_batch_size == 32 and training.num_train_epochs == 150
    assert training.learning_rate == 5e-5 and training.weight_decay == 0.05
    assert training.warmup_epochs == 5 and training.warmup_learning_rate == 1e-6
    assert training.class_balanced and training.layer_decay == 1 and not training.ema_decay
    model, processor = build_without_weights(recipe)
    assert model.config.classification_loss == "mse"  # eq. 16
    # "M=4, L_v=2, L_s=1", six frames, onset and apex
    layers = model.hsta.layers
    assert (len(layers), len(layers[0].video), len(layers[0].special)) == (4, 2, 1)
    assert processor.num_frames == 6 and list(processor.special_frames) == ["onset", "apex"]
    assert processor.video_input == processor.special_input == "frames"
    assert recipe.data.label_scheme == "casme3_7" and recipe.data.num_folds == 5
    assert recipe.data.temporal_variants == 1 and not recipe.augmentation.flip_probability


def test_the_released_recipe_is_the_authors_command():
    recipe = load_recipe("casme3_released")
    training = recipe.training
    assert training.learning_rate == 5e-4 * training.per_device_train_batch_size / 256
    assert training.layer_decay == 0.9 and training.weight_decay == 0.05 and training.min_learning_rate == 1e-6
    assert (training.adam_beta1, training.adam_beta2) == (0.9, 0.999)
    config = build_without_weights(recipe)[0].config
    assert config.classification_loss == "cross_entropy" and config.drop_path_rate == 0.2
    assert 0.2 <= config.classifier_dropout <= 0.4
    assert config.video_config.hidden_dropout_prob == config.special_config.hidden_dropout_prob == 0.2
    assert recipe.augmentation.mixup_alpha == 0
