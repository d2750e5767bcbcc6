"""The words of the catalogue: tasks, verticals and languages, each with its Chinese and English title.

Tasks are Hugging Face pipeline tags where one exists, and ours beyond it. Verticals are the domain
categories of the Open Agentic Schema Framework (OASF).
"""

from dataclasses import dataclass

from catalog.errors import UnknownTask


@dataclass(frozen=True)
class Term:
    """One word of the taxonomy: its id, its titles, other names for it, and what people look for it by."""

    id: str
    title_zh: str
    title_en: str
    aliases: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (self.id, self.title_zh, self.title_en, *self.aliases, *self.wanted)

    def title(self, lang: str) -> str:
        """The title in the reader's language: zh or anything else."""
        return self.title_zh if lang.startswith("zh") else self.title_en

    def mentions(self, word: str) -> bool:
        """Whether the word occurs in one of the names; case does not matter."""
        wanted = word.casefold()
        return any(wanted in name.casefold() for name in (*self.names, self.id.replace("-", " ")))


def _table(*terms: Term) -> dict[str, Term]:
    return {term.id: term for term in terms}


TASKS = _table(
    Term(
        "image-to-text",
        "图片转文字",
        "Image to text",
        ("ocr", "text-recognition", "文字识别", "识字"),
        ("read text", "receipts", "scans", "认字", "扫描件", "票据", "小票", "名片", "身份证"),
    ),
    Term(
        "document-layout",
        "文档版面分析",
        "Document layout",
        ("layout", "layout-analysis", "document-layout-analysis", "版面"),
    ),
    Term("image-classification", "图片分类", "Image classification", ("image-classifier", "图像分类")),
    Term(
        "text-classification",
        "文本分类",
        "Text classification",
        ("sentiment-analysis", "情感分析"),
        ("reviews", "好评", "差评", "评论"),
    ),
    Term(
        "token-classification",
        "词语与实体标注",
        "Token classification",
        ("ner", "pos", "segmentation", "named-entity-recognition", "分词", "命名实体", "实体识别"),
    ),
    Term(
        "feature-extraction",
        "语义向量",
        "Embeddings",
        ("text-embedding", "embedding", "embeddings", "向量", "嵌入"),
    ),
    Term(
        "sentence-similarity",
        "句子相似度",
        "Sentence similarity",
        ("text-similarity", "semantic-similarity", "文本相似度", "语义相似"),
    ),
    Term(
        "voice-activity-detection",
        "人声检测",
        "Voice activity detection",
        ("vad", "speech-detection", "语音检测"),
    ),
    Term(
        "file-type",
        "文件类型识别",
        "File type detection",
        ("file-type-detection", "filetype", "mime", "文件识别"),
    ),
    Term("text-generation", "文本生成", "Text generation", ("llm", "chat", "大模型", "对话")),
    Term(
        "automatic-speech-recognition",
        "语音识别",
        "Speech recognition",
        ("asr", "speech-to-text", "transcription", "转写"),
        ("听写", "字幕"),
    ),
    Term("text-to-speech", "语音合成", "Text to speech", ("tts", "speech-synthesis", "朗读"), ("配音",)),
    Term("translation", "翻译", "Translation", ("translate",)),
    Term("summarization", "摘要", "Summarization", ("summary",)),
    Term("object-detection", "物体检测", "Object detection", ("detection", "目标检测")),
    Term(
        "image-segmentation",
        "图像分割",
        "Image segmentation",
        ("background-removal", "抠图"),
        ("cut out", "抠像", "去背景", "证件照"),
    ),
    Term("tabular-classification", "表格分类", "Tabular classification", ("tabular",)),
    Term("tabular-regression", "表格回归", "Tabular regression", ("forecast",)),
    Term("tensors", "通用张量", "Tensors", ("onnx", "generic")),
)

DEVICES = (
    *("cpu", "x86-64", "x86-64-vnni", "arm64", "openvino", "cuda", "tensorrt", "directml", "cann"),
    *("migraphx", "qnn", "rknn", "android", "ios", "browser-wasm", "browser-webgpu"),
)
"""What a model may say that it needs: the ids of what models can be made to run on."""

VERTICALS = _table(
    Term("technology", "信息技术", "Technology"),
    Term("finance_and_business", "金融与商务", "Finance and Business", ("财务", "会计", "发票")),
    Term("life_science", "生命科学", "Life Science"),
    Term("trust_and_safety", "信任与安全", "Trust and Safety", ("内容审核", "风控"), ("moderation", "鉴黄")),
    Term("human_resources", "人力资源", "Human Resources", ("hr", "招聘")),
    Term("education", "教育", "Education", ("培训",)),
    Term("industrial_manufacturing", "工业制造", "Industrial Manufacturing"),
    Term("transportation", "交通与物流", "Transportation", ("logistics",)),
    Term("healthcare", "医疗健康", "Healthcare"),
    Term("legal", "法律", "Legal", ("合同", "合规")),
    Term("agriculture", "农业", "Agriculture"),
    Term("energy", "能源", "Energy"),
    Term("media_and_entertainment", "媒体与娱乐", "Media and Entertainment", ("自媒体", "内容创作")),
    Term("real_estate", "房地产", "Real Estate"),
    Term("hospitality_and_tourism", "酒店与旅游", "Hospitality and Tourism", ("餐饮",)),
    Term("telecommunications", "通信", "Telecommunications"),
    Term("environmental_science", "环境科学", "Environmental Science"),
    Term("government_and_public_sector", "政务与公共服务", "Government and Public Sector"),
    Term("research_and_development", "研究与开发", "Research and Development"),
    Term(
        "retail_and_ecommerce",
        "零售与电商",
        "Retail and E-commerce",
        ("零售", "电商", "网店", "retail", "ecommerce"),
    ),
    Term("social_services", "社会服务", "Social Services"),
    Term("sports_and_fitness", "体育与健身", "Sports and Fitness"),
    Term("insurance", "保险", "Insurance"),
    Term("marketing_and_advertising", "营销与广告", "Marketing and Advertising"),
)

LANGUAGES = _table(
    Term("zh", "中文", "Chinese"),
    Term("en", "英文", "English"),
)


def _by_name(terms: dict[str, Term]) -> dict[str, Term]:
    named = {
        name.casefold(): term
        for term in terms.values()
        for name in (*term.aliases, term.title_zh, term.title_en)
    }
    return named | terms


_TASK_BY_NAME, _VERTICAL_BY_NAME = _by_name(TASKS), _by_name(VERTICALS)


def task(name: str) -> Term:
    """The task of this name or alias (`ocr` is image-to-text); raises UnknownTask."""
    term = _TASK_BY_NAME.get(name.strip().casefold())
    if term is None:
        raise UnknownTask(task=name)
    return term


def vertical(name: str) -> str:
    """The id of the vertical of this name, id, title or alias; what is none stays as it is."""
    term = _VERTICAL_BY_NAME.get(name.strip().casefold())
    return name if term is None else term.id


def mentioned(terms: dict[str, Term], word: str) -> list[str]:
    """Ids of the terms whose titles, ids or aliases hold the word."""
    return [term.id for term in terms.values() if term.mentions(word)]
