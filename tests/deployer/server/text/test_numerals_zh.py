"""Digits in Chinese texts: as people read them, and no text is too strange or too slow."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.server.text.numerals_zh import cardinal, number, one_by_one, spell

READ = {
    # numbers
    "0 7 10 15 20 101 110": "零 七 十 十五 二十 一百零一 一百一十",
    "1024人，10010次，105000件": "一千零二十四人，一万零一十次，十万五千件",
    "10086年 100005000": "一万零八十六年 一亿零五千",
    "123456789012": "一千二百三十四亿五千六百七十八万九千零一十二",
    "1,234,567元 12,34": "一百二十三万四千五百六十七元 十二,三十四",
    "3.14 0.5 .5 -2.5 007": "三点一四 零点五 零点五 负二点五 零零七",
    "1.2.3版 192.168.1.1": "一点二点三版 一百九十二点一百六十八点一点一",
    "110101199003077777": "一一零一零一一九九零零三零七七七七七",
    # shares, fractions, money
    "12.5%，5%-10%，-3%": "百分之十二点五，百分之五到百分之十，负百分之三",
    "3~5%，5‰": "百分之三到百分之五，千分之五",
    "1/3，2/5": "三分之一，五分之二",
    "¥12.50，￥1,299.00，$5万，€3": "十二点五元，一千二百九十九元，五万美元，三欧元",
    "¥99-199": "九十九到一百九十九元",
    "1299.50元，100元，3.0万元": "一千二百九十九点五元，一百元，三万元",
    # dates and times
    "2024年5月6日，2024年05月06日": "二零二四年五月六日，二零二四年五月六日",
    "2024-05-06，2024/5/6": "二零二四年五月六日，二零二四年五月六日",
    "2024.5.6，2024-05": "二零二四年五月六日，二零二四年五月",
    "24年3月，08年，10年前，3000年历史": "二四年三月，零八年，十年前，三千年历史",
    "2020-2024年，2024届，1999级": "二零二零到二零二四年，二零二四届，一九九九级",
    "9:30-11:00，12:05，8：00，08:15:30": "九点三十分到十一点，十二点零五分，八点，八点十五分三十秒",
    "5月1日-5月7日，上午9点至下午5点": "五月一日到五月七日，上午九点到下午五点",
    # phones and codes
    "13800138000": "幺三八，零零幺三，八零零零",
    "+86 138-0013-8000": "幺三八，零零幺三，八零零零",
    "电话010-62781234，热线400-820-8820": "电话零幺零，六二七八幺二三四，热线四零零，八二零，八八二零",
    "拨打110，验证码是482913，客服有100个": "拨打幺幺零，验证码是四八二九幺三，客服有一百个",
    # ranges, scores, sums
    "3-5天，5~10个，1.5-2.5倍，10至20": "三到五天，五到十个，一点五到二点五倍，十到二十",
    "3:2，16:9，以3-1获胜": "三比二，十六比九，以三比一获胜",
    "5000-200券，1000到2000": "五千减二百券，一千到二千",
    "1+1=2，3×4=12，100÷5，7*24小时": "一加一等于二，三乘四等于十二，一百除以五，七乘二十四小时",
    # measures and what is counted
    "5kg，20cm，60m²，1.5L": "五公斤，二十厘米，六十平方米，一点五升",
    "100km/h，25℃，-5°C": "一百公里每小时，二十五摄氏度，零下五摄氏度",
    "-5~3℃": "零下五到三摄氏度",
    "2个，2小时，12个，第2个，2月2日，2万": "两个，两小时，十二个，第二个，二月二日，二万",
    # beside letters
    "A4，5G，COVID-19，H264，v2.5，iPhone15": "A四，五G，COVID十九，H二六四，v二点五，iPhone十五",
    "C++，A+，======，A&B，www.example.com": "C加加，A加，，A和B，www点example点com",
}


@pytest.mark.parametrize("text", READ)
def test_as_people_read_it(text: str) -> None:
    assert spell(text) == READ[text]


def value(said: str) -> int:
    """The number that was said, by the meaning of its words."""
    total = group = digit = 0
    for word in said:
        if word in "零一二三四五六七八九":
            digit = "零一二三四五六七八九".index(word)
        elif word in "十百千":
            group += (digit or 1) * 10 ** ("十百千".index(word) + 1)
            digit = 0
        else:
            total += (group + digit) * (10_000 if word == "万" else 10**8)
            group = digit = 0
    return total + group + digit


@given(st.integers(0, 10**12 - 1))
def test_a_number_is_said_so_that_it_can_be_understood(given_number: int) -> None:
    said = cardinal(str(given_number))
    assert value(said) == given_number
    assert "零零" not in said
    assert said == "零" or not said.endswith("零")


@given(st.from_regex(r"[0-9]{1,40}(\.[0-9]{1,30})?", fullmatch=True))
def test_every_row_of_digits_is_said(digits: str) -> None:
    said = number(digits)
    assert set(said) <= set("零一二三四五六七八九十百千万亿点")
    if "." in digits:
        assert said.endswith("点" + one_by_one(digits.partition(".")[2]))


@given(st.text(st.sampled_from("0123456789.,:-/%~ 年月日元¥$+=×x℃第2个kgA电话至"), max_size=60))
def test_no_digit_is_left_whatever_stands_around_it(text: str) -> None:
    assert not any(sign in "0123456789" for sign in spell(text))


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    spell(text)


@pytest.mark.parametrize(
    "part",
    [
        "1",
        "1,",
        "1,234",
        "1.",
        "1-",
        "1:",
        "1/",
        "¥1",
        "%1",
        "电话 ",
        "电话1",
        "123 ",
        "0",
        "+",
        "1~",
        "-",
        "1年",
        "A1",
    ],
)
def test_long_rows_take_no_time(part: str) -> None:
    began = time.process_time()
    spell(part * (10_000 // len(part)))
    assert time.process_time() - began < 1.0
