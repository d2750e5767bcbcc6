"""What went wrong with a source, in Chinese: the plain sentences that fetching and unpacking give."""

import re

_WHOLE = {
    "its name was not found on the network": "网络上找不到这个域名",
    "no answer in time": "没有及时回应",
    "the certificate was not accepted": "证书未被认可",
    "the proxy did not answer": "代理没有回应",
    "the connection was refused or broke": "连接被拒绝或中断",
    "its answer is no listing": "回应不是文件列表",
    "npm is not installed": "没有安装 npm",
    "neither a zip nor a tar archive": "既不是 zip 也不是 tar 归档",
    "a member reaches beyond its end": "有成员超出了归档的末尾",
    "the source answered with another part of the file": "来源回应的是文件的另一部分",
    "the source has no such part of the file": "来源没有文件的这一部分",
}
_PARTS = (
    (r"(.+) leads out of it", r"其中的 \1 指向归档之外"),
    (r"(.+) occurs twice in it", r"\1 在其中出现两次"),
    (r"(.+) occurs twice", r"\1 出现两次"),
    (r"(.+) is no plain file", r"\1 不是普通文件"),
    (r"(.+) is no plain path", r"\1 不是普通的路径"),
    (r"(.+) is cut off", r"\1 被截断"),
    (r"(.+) shares bytes with another member", r"\1 与另一成员共用数据"),
    (r"(.+) has another name in its own header", r"\1 与自己头部里的名字不同"),
    (r"(.+) is (\d+) bytes, (\d+) were expected", r"\1 有 \2 字节，应为 \3"),
    (r"(.+) is longer than the (\d+) bytes it declares", r"\1 比它声明的 \2 字节长"),
    (r"(.+) means more than (\d+) files", r"\1 所指的文件超过 \2 个"),
    (r"more than (\d+) members", r"成员超过 \1 个"),
    (r"more than (\d+) bytes unpacked", r"解开后超过 \1 字节"),
    (r"it unpacks to more than (\d+) bytes, (\d+) times its size", r"解开后超过 \1 字节，是自身大小的 \2 倍"),
    (r"a listing of more than (\d+) bytes", r"文件列表超过 \1 字节"),
    (r"fewer than (\d+) bytes a second for (\d+) s", r"连续 \2 秒每秒不足 \1 字节"),
    (r"not all of it came within (\d+) h", r"\1 小时内没有传完"),
    (r"it could not be unpacked \((.+)\)", r"无法解包（\1）"),
    (r"npm ended with exit (-?\d+)", r"npm 以退出码 \1 结束"),
)


def in_chinese(why: str) -> str:
    """The cause in Chinese; one that is not known here, such as `HTTP 503`, stays as it is."""
    if why in _WHOLE:
        return _WHOLE[why]
    for pattern, chinese in _PARTS:
        if match := re.fullmatch(pattern, why, re.DOTALL):
            return match.expand(chinese)
    return why
