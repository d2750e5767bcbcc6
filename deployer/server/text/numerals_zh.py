"""Digits and signs in a Chinese text, written out as they are read: amounts, dates, times, phones, units.

The rules go from the special to the plain, each over the whole text; what one has written out holds no digits
any more, so a later one passes it by. Without a hint, digits are a number: 1234 is 一千二百三十四. They are
read one by one when they name something (a phone, a card, a year, a code), begin with 0, or are 13 and more.
"""

import re
from collections.abc import Callable

_DIGITS = "零一二三四五六七八九"
_UNITS = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿")
_LONGEST = 12  # digits of a number that is read as one

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_TO = r"\s?(?:[-~–至]{1,2}|—)\s?"
_COUNTED = (  # what is counted, so that two of them are 两; dates and house numbers are not
    "个(?!位)|只|条|张|位|名|件|种|次|天|年|周|本|台|辆|套|间|家|份|块|杯|瓶|人|倍|岁|斤|公斤|千克|吨|米|公里|厘米"
    "|小时|分钟|秒|元|点|步|句|边|对|双|批|场|颗|棵|片|座|根|支|头|匹|口|顿|篇|项|组|队|枚|袋|箱|盒|碗|圈|遍"
)
_NAMED = (  # after these words digits name something
    r"(?:电话|手机|热线|致电|拨打|客服|传真|座机|号码|验证码|密码|口令|尾号|卡号|账号|帐号|编号|工号|单号|学号"
    r"|邮编|微信|QQ|qq|车牌|身份证)号?码?(?:是|为|[:：\s])*"
)
_MONEY = {"¥": "元", "￥": "元", "$": "美元", "€": "欧元", "£": "英镑"}
_MEASURES = {
    **{"km/h": "公里每小时", "m/s": "米每秒", "km": "公里", "cm": "厘米", "mm": "毫米", "m": "米"},
    **{"kg": "公斤", "mg": "毫克", "g": "克", "ml": "毫升", "mL": "毫升", "L": "升"},
    **{"km²": "平方公里", "m²": "平方米", "m2": "平方米", "m³": "立方米", "m3": "立方米"},
    **{"kWh": "千瓦时", "kW": "千瓦"},
    **{"GHz": "吉赫兹", "MHz": "兆赫兹", "kHz": "千赫兹", "Hz": "赫兹"},
}
_SIGNS = {
    **{"°C": "摄氏度", "℃": "摄氏度", "°F": "华氏度", "°": "度", "²": "平方", "³": "立方"},
    **{"+": "加", "×": "乘", "÷": "除以", "=": "等于", "≈": "约等于", "±": "正负"},
    **{"≥": "大于等于", "≤": "小于等于", "&": "和"},
}


def spell(text: str) -> str:
    """The text without ASCII digits, each number as it is read."""
    for pattern, write in _RULES:
        text = pattern.sub(write, text)
    return text


def cardinal(digits: str) -> str:
    """A whole number of at most 12 digits as it is said: 10010 is 一万零一十."""
    digits = digits.lstrip("0")
    groups = [digits[max(0, end - 4) : end] for end in range(len(digits), 0, -4)]
    said, gap = "", False
    for place in range(len(groups) - 1, -1, -1):
        group = groups[place]
        if not group.strip("0"):
            gap = True
            continue
        if said and (gap or group.startswith("0")):
            said += "零"
        said, gap = said + _thousands(group) + _GROUPS[place], False
    return (said.removeprefix("一") if said.startswith("一十") else said) or "零"


def _thousands(group: str) -> str:
    """Up to four digits, not all 0: zeros inside are said once, those at the ends not at all."""
    said, zero = "", False
    for place, digit in enumerate(group):
        if digit == "0":
            zero = bool(said)
        else:
            said += ("零" if zero else "") + _DIGITS[int(digit)] + _UNITS[len(group) - 1 - place]
            zero = False
    return said


def one_by_one(digits: str, one: str = "一") -> str:
    """Each digit by itself; in phone numbers `one` is 幺."""
    return "".join(one if digit == "1" else _DIGITS[int(digit)] for digit in digits)


def number(text: str) -> str:
    """A whole or decimal number without a sign."""
    whole, _, part = text.partition(".")
    if len(whole) > _LONGEST or (len(whole) > 1 and whole.startswith("0")):
        said = one_by_one(whole)
    else:
        said = cardinal(whole)
    return f"{said}点{one_by_one(part)}" if part else said


def _code(match: re.Match[str]) -> str:
    """Digits of a phone or a code with short stops between its groups; mobiles are grouped 3, 4, 4."""
    before, digits = match[1] or "", match[2].removeprefix("+86").strip(" -")
    groups = re.findall("[0-9]+", digits)
    if len(groups) == 1 and re.fullmatch("1[3-9][0-9]{9}", groups[0]):
        groups = [groups[0][:3], groups[0][3:7], groups[0][7:]]
    return before + "，".join(one_by_one(group, "幺") for group in groups)


def _date(match: re.Match[str]) -> str:
    year, month, day = match[1], match[3], match[4]
    said = f"{one_by_one(year)}年{cardinal(month)}月"
    return f"{said}{cardinal(day)}日" if day else said


def _year(match: re.Match[str]) -> str:
    """A year of four digits one by one; 1000 and 3000 years are a time, not a year."""
    return one_by_one(match[0]) if 1000 < int(match[0]) < 3000 else cardinal(match[0])


def _time(match: re.Match[str]) -> str:
    hour, minute, second = match[1], match[2], match[3]
    said = f"{cardinal(hour)}点"
    if minute != "00" or second:
        said += ("零" if minute[0] == "0" and minute != "00" else "") + f"{cardinal(minute)}分"
    return said + (f"{cardinal(second)}秒" if second else "")


def _money(match: re.Match[str]) -> str:
    low, high, size = (part or "" for part in match.group(2, 3, 4))
    amounts = [number(part.rstrip("0").rstrip(".") if "." in part else part) for part in (low, high) if part]
    return "到".join(amounts) + size + _MONEY[match[1]]


def _share(match: re.Match[str]) -> str:
    base = "千分之" if match[3] == "‰" else "百分之"
    low, high = match[1], match[2]
    said = ("负" if low.startswith("-") else "") + base + number(low.lstrip("-"))
    return f"{said}到{base}{number(high)}" if high else said


def _range(match: re.Match[str]) -> str:
    """From low to high; with a hyphen, high to low is a score, or from 1000 on a price less a rebate."""
    low, between, high = match[1], match[2].strip(), match[3]
    word = "到"
    if between == "-" and float(high) <= float(low):
        word = "比" if float(low) < 1000 else "减"
    return number(low) + word + number(high)


def _numbered(match: re.Match[str]) -> str:
    """Digits behind letters: up to two are a number (A4, COVID-19), more are read one by one (H264)."""
    digits = match[0].removeprefix("-")
    return number(digits) if len(digits) <= 2 else one_by_one(digits)


def _sign(match: re.Match[str]) -> str:
    """A sign in words; two are said (C++), more of the same are a line."""
    times = len(match[0]) // len(match[1])
    return _SIGNS[match[1]] * times if times <= 2 else ""


_MEASURE = "|".join(sorted(map(re.escape, _MEASURES), key=len, reverse=True))
_SIGN = "|".join(map(re.escape, _SIGNS))
_BARE = r"(?<![0-9A-Za-z.])"  # nothing before it that belongs to the number

_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern), write)
    for pattern, write in (
        # 1,234,567
        (r"(?<![0-9,.])[0-9]{1,3}(?:,[0-9]{3})+(?!,?[0-9])", lambda m: m[0].replace(",", "")),
        # phones and codes
        (rf"({_NAMED})([0-9]{{3,}}(?:[ -][0-9]{{3,}})*)(?![0-9%]|\.[0-9]|个|元|万|亿|年|月)", _code),
        (
            r"(?<![0-9.-])()((?:\+86[ -]?)?1[3-9][0-9]([ -]?)[0-9]{4}\3[0-9]{4})(?![0-9%元万亿个]|\.[0-9])",
            _code,
        ),
        (r"(?<![0-9.-])()(0[0-9]{2,3}[ -][0-9]{7,8}|[48]00-[0-9]{3,4}-[0-9]{3,4})(?![0-9])", _code),
        # dates
        (
            r"(?<![0-9])((?:19|20)[0-9]{2})([-/.])(0?[1-9]|1[0-2])\2(0?[1-9]|[12][0-9]|3[01])日?(?!\.?[0-9])",
            _date,
        ),
        (r"(?<![0-9])((?:19|20)[0-9]{2})([-/])(0[1-9]|1[0-2])()(?![0-9/-])", _date),
        (
            rf"(?<![0-9.])([0-9]{{4}}){_TO}([0-9]{{4}})(?=年)",
            lambda m: f"{one_by_one(m[1])}到{one_by_one(m[2])}",
        ),
        (r"(?<![0-9.])[0-9]{4}(?=[年届级款版财春夏秋冬])", _year),
        (r"(?<![0-9.])(?:[0-9]{2}(?=年[0-9]{1,2}月)|0[0-9](?=年))", lambda m: one_by_one(m[0])),
        (r"(?<![0-9.])0(?=[1-9][月日号时点])", lambda m: ""),
        # times, and what is set against something
        (
            r"(?<![0-9:：.])([01]?[0-9]|2[0-4])[:：]([0-5][0-9])(?:[:：]([0-5][0-9]))?(?![0-9:：])",
            _time,
        ),
        (r"(?<=[0-9])[:：](?=[0-9])", lambda m: "比"),
        (rf"(?<=[点分秒日月年号]){_TO}(?=[0-9{_DIGITS}十]|凌晨|早|上午|中午|下午|晚)", lambda m: "到"),
        # amounts
        (r"(\.[0-9]*?)0+(?=[万亿]?元)", lambda m: m[1].rstrip(".")),
        (rf"([¥￥$€£])\s?({_NUMBER})(?:{_TO}[¥￥$€£]?({_NUMBER}))?([百千]?[万亿]|千)?元?", _money),
        (rf"((?:{_BARE}-)?(?<![0-9.]){_NUMBER})(?:[%％]?{_TO}({_NUMBER}))?([%％‰])", _share),
        (rf"{_BARE}[-−](?={_NUMBER}(?:\s?[~～至到-]\s?-?{_NUMBER})?\s?(?:℃|°C))", lambda m: "零下"),
        (r"(?<=[0-9])\s?[x×*]\s?(?=[0-9])", lambda m: "乘"),
        (
            rf"{_BARE}({_NUMBER})({_TO})({_NUMBER})(?![0-9A-Za-z]|-[0-9])",
            _range,
        ),
        (r"(?<![0-9/.])([0-9]+)/([0-9]+)(?![0-9/.])", lambda m: f"{number(m[2])}分之{number(m[1])}"),
        (rf"(?<=[0-9])\s?({_MEASURE})(?![A-Za-z0-9²³])", lambda m: _MEASURES[m[1]]),
        # numbers
        (r"(?<![0-9.])[0-9]+(?:\.[0-9]+){2,}", lambda m: "点".join(map(number, m[0].split(".")))),
        (r"(?<=[A-Za-z])-?[0-9]+(?!\.?[0-9])", _numbered),
        (rf"(?<![0-9.第])2(?={_COUNTED})", lambda m: "两"),
        (rf"{_BARE}[-−]{_NUMBER}", lambda m: f"负{number(m[0][1:])}"),
        (r"(?<=[A-Za-z0-9])\.(?=[A-Za-z])", lambda m: "点"),  # a web address
        (r"(?<![^\s(（+=×*/~-])\.([0-9]+)", lambda m: f"零点{one_by_one(m[1])}"),
        (_NUMBER, lambda m: number(m[0])),
        (rf"({_SIGN})\1*", _sign),
    )
)
