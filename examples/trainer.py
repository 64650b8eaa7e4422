"""Hugging Face's Trainer as it is: the only line that is not its own is the callback. It logs the energy, and reports.

The model is a tiny one with random weights: nothing is downloaded.
"""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from energysweep.huggingface import EnergyCallback


def texts(number):
    """Random tokens; the first one says which kind of text it is."""
    tokens = torch.randint(4, 64, (number, 8))
    return [{"input_ids": each, "labels": int(each[0] < 34)} for each in tokens]


def accuracy(evaluated):
    return {"accuracy": float((evaluated.predictions.argmax(axis=1) == evaluated.label_ids).mean())}


def train(config):
    torch.manual_seed(config["seed"])
    torch.set_num_threads(1)
    size = {"hidden_size": config["hidden_size"], "intermediate_size": 2 * config["hidden_size"]}
    tiny = BertConfig(vocab_size=64, num_hidden_layers=1, num_attention_heads=2, **size)
    trainer = Trainer(
        BertForSequenceClassification(tiny),
        TrainingArguments(
            "checkpoints",
            num_train_epochs=4,
            learning_rate=5e-3,
            per_device_train_batch_size=32,
            logging_strategy="epoch",
            eval_strategy="epoch",
            save_strategy="no",
            seed=config["seed"],
            report_to="none",
            use_cpu=True,
        ),
        train_dataset=texts(1000),
        eval_dataset=texts(200),
        compute_metrics=accuracy,
        callbacks=[EnergyCallback()],
    )
    trainer.train()
    trainer.save_state()  # trainer_state.json has the log, and so the energy
