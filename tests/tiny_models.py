"""Tiny GGUF files that a real Ollama loads and answers from: random weights, real structure.

Each function returns the bytes of one file of a few hundred KB, always the same ones. What such a
model says means nothing, but it is the same every time and depends on each of its files. The text
models share one vocabulary and one width, so that a projector, an adapter or a draft fits them.
"""

from __future__ import annotations

from typing import Any

from gguf_files import (
    F16,
    F32,
    FLOAT32,
    INT32,
    Q8_0,
    STRING,
    UINT16,
    Array,
    Tensor,
    Typed,
    gguf_bytes,
)
from tiny_tensors import Weights, ones, zeros

WIDTH, HEADS, FEED, BLOCKS, CONTEXT = 64, 4, 128, 2, 512
IMAGE, PATCH = 32, 8
RANK = 4
MASK = 3
F16_FILE, Q8_0_FILE = 1, 7
UNNAMED_FILE = 99  # a number that no version has given a name to

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content']"
    " + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SYLLABLES = tuple(a + b for a in "bdfgklmnprst" for b in "aeiou")
_CONTROL = ("<unk>", "<s>", "</s>", "<mask>", "<|im_start|>", "<|im_end|>")
_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
_PIECES = ("\u2581", *_LETTERS, *_SYLLABLES, *(f"\u2581{said}" for said in _SYLLABLES))
VOCABULARY = (*_CONTROL, *_BYTES, *_PIECES)
_UNKNOWN, _NORMAL, _CONTROLS, _BYTE = 2, 1, 3, 6
_TYPES = (_UNKNOWN, *[_CONTROLS] * (len(_CONTROL) - 1), *[_BYTE] * 256, *[_NORMAL] * len(_PIECES))
_SCORES = tuple(
    float(len(token)) if kind == _NORMAL else 0.0
    for token, kind in zip(VOCABULARY, _TYPES, strict=True)
)
_SAID = tuple(kind == _NORMAL for kind in _TYPES)  # all that the models can say


def base_model(seed: int = 1) -> bytes:
    """Returns a text model without a chat template, in F16."""
    return gguf_bytes(_text("llama", F16_FILE), _text_tensors(Weights(seed, F16)))


def chat_model(seed: int = 1) -> bytes:
    """Returns a text model with the chat template that Ollama knows as ChatML, in F16."""
    return gguf_bytes(_chat(F16_FILE), _text_tensors(Weights(seed, F16)))


def quantised_model(seed: int = 1, file_type: int = Q8_0_FILE) -> bytes:
    """Returns a chat model in Q8_0; `file_type` is what its header calls that."""
    return gguf_bytes(_chat(file_type), _text_tensors(Weights(seed, Q8_0)))


def embedding_model(seed: int = 1) -> bytes:
    """Returns an embedding model of the family of BERT, whose vectors have WIDTH numbers."""
    weights = Weights(seed, F16)
    tokens = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_PIECES)
    kv = _shape("bert") | {
        "general.file_type": F16_FILE,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": Array(STRING, tokens),
        "tokenizer.ggml.token_type": Array(INT32, [_CONTROLS] * 5 + [_NORMAL] * (len(tokens) - 5)),
        "tokenizer.ggml.token_type_count": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    }
    tensors = [
        weights.table("token_embd.weight", WIDTH, [True] * len(tokens)),
        weights.plain("token_types.weight", WIDTH, 2),
        weights.plain("position_embd.weight", WIDTH, CONTEXT),
        *_norm("token_embd_norm", WIDTH),
    ]
    for block in range(BLOCKS):
        at = f"blk.{block}"
        tensors += [
            *(weights.matrix(f"{at}.attn_{name}.weight", WIDTH, WIDTH) for name in "qkv"),
            weights.matrix(f"{at}.attn_output.weight", WIDTH, WIDTH),
            *_norm(f"{at}.attn_output_norm", WIDTH),
            weights.matrix(f"{at}.ffn_up.weight", WIDTH, FEED),
            weights.matrix(f"{at}.ffn_down.weight", FEED, WIDTH),
            *_norm(f"{at}.layer_output_norm", WIDTH),
        ]
    return gguf_bytes(kv, tensors)


def projector(seed: int = 1) -> bytes:
    """Returns a projector for any of the text models: a vision transformer in the form of LLaVA's,
    which makes 16 tokens of an image."""
    weights = Weights(seed, F16)
    kv = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "general.file_type": F16_FILE,
        "clip.has_vision_encoder": True,
        "clip.projector_type": "mlp",
        "clip.use_gelu": True,
        "clip.vision.image_size": IMAGE,
        "clip.vision.patch_size": PATCH,
        "clip.vision.embedding_length": WIDTH,
        "clip.vision.feed_forward_length": FEED,
        "clip.vision.block_count": BLOCKS,
        "clip.vision.projection_dim": WIDTH,
        "clip.vision.attention.head_count": HEADS,
        "clip.vision.attention.layer_norm_epsilon": 1e-5,
        "clip.vision.image_mean": Array(FLOAT32, [0.5] * 3),
        "clip.vision.image_std": Array(FLOAT32, [0.5] * 3),
    }
    tensors = [
        weights.patches("v.patch_embd.weight", PATCH, 3, WIDTH),
        weights.plain("v.position_embd.weight", WIDTH, (IMAGE // PATCH) ** 2),
        *(t for block in range(BLOCKS) for t in _vision_block(weights, f"v.blk.{block}")),
        weights.matrix("mm.0.weight", WIDTH, FEED),
        zeros("mm.0.bias", FEED),
        weights.matrix("mm.2.weight", FEED, WIDTH),
        zeros("mm.2.bias", WIDTH),
    ]
    return gguf_bytes(kv, tensors)


def adapter(seed: int = 1, strength: float = 4.0) -> bytes:
    """Returns a LoRA adapter for the text models; with the strength 0 it changes nothing."""
    weights = Weights(seed, F32)
    kv = {
        "general.architecture": "llama",
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": float(RANK),
    }
    tensors = []
    for block in range(BLOCKS):
        target = f"blk.{block}.ffn_down.weight"
        tensors += [
            weights.matrix(f"{target}.lora_a", FEED, RANK),
            weights.matrix(f"{target}.lora_b", RANK, WIDTH, strength),
        ]
    return gguf_bytes(kv, tensors)


def draft(seed: int = 1) -> bytes:
    """Returns a model that drafts for the text models from what their last block is given."""
    weights = Weights(seed, F16)
    kv = _text("dflash", F16_FILE) | {
        "dflash.block_size": 8,
        "dflash.target_layers": Array(INT32, [BLOCKS - 1]),
        "tokenizer.ggml.mask_token_id": MASK,
    }
    tensors = [
        weights.matrix("fc.weight", WIDTH, WIDTH),
        ones("enc.output_norm.weight", WIDTH),
        *_text_tensors(weights),
        *(
            ones(f"blk.{n}.attn_{x}_norm.weight", WIDTH // HEADS)
            for n in range(BLOCKS)
            for x in "qk"
        ),
    ]
    return gguf_bytes(kv, tensors)


def split_model(parts: int = 2, seed: int = 1) -> dict[str, bytes]:
    """Returns a chat model in several files, under the names that llama.cpp's splitter gives them;
    as there, only the first has the metadata."""
    kv, tensors = _chat(F16_FILE), _text_tensors(Weights(seed, F16))
    size = -(-len(tensors) // parts)
    return {
        f"tiny-{number + 1:05d}-of-{parts:05d}.gguf": gguf_bytes(
            (kv if number == 0 else {})
            | {
                "split.no": Typed(UINT16, number),
                "split.count": Typed(UINT16, parts),
                "split.tensors.count": Typed(INT32, len(tensors)),
            },
            tensors[number * size : (number + 1) * size],
        )
        for number in range(parts)
    }


def _chat(file_type: int) -> dict[str, Any]:
    return _text("llama", file_type) | {"tokenizer.chat_template": CHATML}


def _shape(architecture: str) -> dict[str, Any]:
    return {
        "general.architecture": architecture,
        "general.type": "model",
        f"{architecture}.block_count": BLOCKS,
        f"{architecture}.context_length": CONTEXT,
        f"{architecture}.embedding_length": WIDTH,
        f"{architecture}.feed_forward_length": FEED,
        f"{architecture}.attention.head_count": HEADS,
    }


def _text(architecture: str, file_type: int) -> dict[str, Any]:
    """The metadata of a text model, with its tokenizer."""
    return _shape(architecture) | {
        "general.file_type": file_type,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.dimension_count": WIDTH // HEADS,
        f"{architecture}.vocab_size": len(VOCABULARY),
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": Array(STRING, VOCABULARY),
        "tokenizer.ggml.scores": Array(FLOAT32, _SCORES),
        "tokenizer.ggml.token_type": Array(INT32, _TYPES),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }


def _text_tensors(weights: Weights) -> list[Tensor]:
    tensors = [
        weights.table("token_embd.weight", WIDTH, [True] * len(VOCABULARY)),
        weights.table("output.weight", WIDTH, _SAID),
        ones("output_norm.weight", WIDTH),
    ]
    for block in range(BLOCKS):
        at = f"blk.{block}"
        tensors += [
            ones(f"{at}.attn_norm.weight", WIDTH),
            *(weights.matrix(f"{at}.attn_{name}.weight", WIDTH, WIDTH) for name in "qkv"),
            weights.matrix(f"{at}.attn_output.weight", WIDTH, WIDTH),
            ones(f"{at}.ffn_norm.weight", WIDTH),
            weights.matrix(f"{at}.ffn_gate.weight", WIDTH, FEED),
            weights.matrix(f"{at}.ffn_up.weight", WIDTH, FEED),
            weights.matrix(f"{at}.ffn_down.weight", FEED, WIDTH),
        ]
    return tensors


def _vision_block(weights: Weights, at: str) -> list[Tensor]:
    return [
        *_norm(f"{at}.ln1", WIDTH),
        *(weights.matrix(f"{at}.attn_{name}.weight", WIDTH, WIDTH) for name in "qkv"),
        weights.matrix(f"{at}.attn_out.weight", WIDTH, WIDTH),
        *_norm(f"{at}.ln2", WIDTH),
        weights.matrix(f"{at}.ffn_up.weight", WIDTH, FEED),
        weights.matrix(f"{at}.ffn_down.weight", FEED, WIDTH),
    ]


def _norm(name: str, count: int) -> tuple[Tensor, Tensor]:
    return ones(f"{name}.weight", count), zeros(f"{name}.bias", count)
