"""What attacks say in languages that the embedding does not know: beginnings of words for a few ideas, by meaning.

A word alone says nothing: people ask how to reset a password in every language. So the ideas are features, singly
and in pairs, and the ensemble weighs them.
"""

from __future__ import annotations

import re
import unicodedata

_DROP = (
    r"\b(?:ignorier|vergiss|vergesse|missacht|verwirf|ueberschreib|uberschreib|ignora|ignoren|olvid|descarta|oubli"
    r"|ignorez|ignore[rs]?\b|negli?ge|ne tiens|dimentic|trascur|esquec|desconsider|ignore[mn]?\b|negeer|vergeet"
    r"|zignoruj|ignoruj|zapomnij|pomin|unut|yok say|gormezden|glom|ignorer|zanemari|ignorir|zaboravi|glem|unohda)\w*"
    r"|забудь|игнорир|проигнорир|не обращай|забуд|ігнор|無視|忘れ|忽略|忘记|忘記|无视|不要理会|무시|잊어"
    r"|تجاهل|انس|अनदेखा|भूल जा"
)
_ORDERS = (
    r"\b(?:anweisung|anleitung|instruktion|vorgabe|regel|richtlini|befehl|auftrag|aufgabe|instruccion|regla|orden"
    r"|indicacion|directri|norma|consigne|regle|directive|ordre|istruzion|regol|direttiv|ordin|instruc[oa]"
    r"|regra|diretriz"
    r"|instructie|richtlijn|opdracht|polecen|instrukcj|zasad|regul|talimat|kural|komut|instruktioner"
    r"|regler|pravil|uput"
    r"|ohje|saanto)\w*"
    r"|инструкци|правил|указани|команд|інструкц|指示|命令|ルール|規則|規定|指令|规则|要求|지시|명령|규칙"
    r"|تعليمات|القواعد|أوامر|निर्देश|नियम"
)
_SHOW = (
    r"\b(?:zeig|verrat|nenn|gib|wiederhol|schreib|druck|ausgeb|muestra|muestr|revela|dime|dame|repit|escrib|imprim"
    r"|affich|revel|montre|donne|repet|recop|ecri|mostra|dimmi|rivela|ripet|scrivi|mostre|diga|repita|escrev|laat"
    r"|toon|geef|herhaal|schrijf|pokaz|ujawnij|podaj|wypisz|powtorz|goster|soyle|yaz|tekrar|visa|beratta"
    r"|avsloja|pokazi"
    r"|otkrij|ispisi)\w*"
    r"|покажи|выведи|скажи|раскрой|повтори|напиши|表示|出力|教え|繰り返|显示|告诉|告訴|输出|重复|重複|泄露"
    r"|보여|출력|알려|반복|أظهر|اكتب|أخبر|कर बता|दिखा"
)
_HIDDEN = (
    r"\b(?:systemprompt|system-?prompt|systeemprompt|prompt|passwort|geheim|versteckt|kennwort|secret"
    r"|contrasena|clave|ocult"
    r"|mot de passe|cache|invite systeme|segret|nascost|senha|segred|wachtwoord|verborgen|haslo|tajn|ukryt"
    r"|sifre|gizli"
    r"|losenord|hemlig|lozink|zapork|mensaje de sistema|mensagem do sistema|messaggio di sistema|salasana)\w*"
    r"|промпт|парол|секрет|скрыт|プロンプト|秘密|パスワード|提示词|系统提示|密码|機密|机密|프롬프트|비밀"
    r"|كلمة السر|كلمة المرور|سري|पासवर्ड|गुप्त"
)
_BECOME = (
    r"\b(?:du bist (?:jetzt|nun|ab)|bist du|ab jetzt|von nun an|ab sofort|tu so|spiele|stell dir vor|eres|ahora eres"
    r"|a partir de ahora|desde ahora|actua|finge|haz como|tu es|maintenant tu|a partir de maintenant|desormais"
    r"|fais semblant|tu vas jouer|joue|sei (?:ora )?|da ora in poi|fai finta|comportati|voce (?:e|agora)"
    r"|a partir de agora"
    r"|finja|aja como|jij bent|je bent|vanaf nu|doe alsof|jestes|od teraz|udawaj|artik|bundan sonra|sen (?:artik )?"
    r"|nu ar du|du ar nu|fran och med nu|od sada|ti si|ponasaj)\b"
    r"|теперь ты|ты теперь|отныне|притвор|представь|これから|あなたは|になりき|你现在|从现在|假装|扮演"
    r"|이제부터|너는|척해|أنت الآن|من الآن|तुम अब"
)
_LIMITS = (
    r"\b(?:ohne|keine?[rn]?|sin|sans|aucune?|ne .{0,30}(?:aucune?|jamais)|senza|nessun|sem|nenhum|zonder"
    r"|geen|bez|zadnych"
    r"|utan|inga|nunca|niemals|jamais|nie)\b.{0,40}?"
    r"(?:regel|filter|grenz|einschrankung|beschrankung|moral|richtlini|zensur|warnung|limit|restric|etic|regla|censur"
    r"|filtro|politic|regle|filtre|morale|regol|restrizion|avvert|regra|refus|nega|ablehn|regels|beperking"
    r"|zasad|ogranicz|regler|pravil)"
    r"|kuralsiz|sinirsiz|filtresiz|kurallari olmayan|aufgehoben|alles erlaubt"
    r"|без (?:ограничени|правил|цензур|морал|фильтр)|制限なし|制限のない|規則のない|没有任何限制|沒有限制"
    r"|无限制|不受限制|제한 없|규칙 없|بلا قيود|دون قيود"
)
_BEFORE = (
    r"\b(?:vorherig|bisherig|obig|davor|daruber|oben|am anfang|ursprunglich|anterior|arriba|precedent|plus haut"
    r"|ci-dessus|precede|initiale|prima|sopra|inizial|iniciai|acima|antes|eerder|bovenstaand|hierboven|vorige"
    r"|poprzedn|powyz|onceki|yukarida|tidigare|ovan|prethodn|iznad)\w*"
    r"|предыдущ|выше|ранее|до этого|以前|上記|最初|これまで|今まで|之前|上面|以上|先前|이전|위의|السابق|أعلاه|पिछल"
)
_YOURS = (
    r"\b(?:dein|deine[rmns]?|ihre[rmns]?|tus?|tes|ton|votre|vos|tuoi?|tue|seus?|suas?|jouw|twoje?|senin|ditt|dina"
    r"|tvoja?|tvoje)\b|тво[ие]|твои|твое|тебе|ваши|あなた|你的|你收到|您的|당신의|귀하의|तुम्हार|आपक"
)
_IDEAS = tuple(
    re.compile(source, re.S) for source in (_DROP, _ORDERS, _SHOW, _HIDDEN, _BECOME, _LIMITS, _BEFORE, _YOURS)
)
_LETTERS = str.maketrans({"\u0131": "i", "ł": "l", "ø": "o", "æ": "ae", **dict.fromkeys(map(chr, range(0x300, 0x370)))})

NAMES = (
    *(f"languages.{name}" for name in ("drop", "orders", "show", "secret", "become", "limits", "before", "yours")),
    "languages.drop_orders",
    "languages.show_secret",
    "languages.show_orders",
    "languages.become_limits",
    "languages.become_drop",
    "languages.drop_before",
    "languages.show_before",
    "languages.orders_yours",
    "languages.secret_yours",
)


def ideas(text: str) -> list[float]:
    """The features, of `len(NAMES)` zeros and ones."""
    # Accents of letters go; the marks of other scripts stay, for there they are letters of their own.
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFKD", text.casefold()).translate(_LETTERS))
    drop, orders, show, secret, become, limits, before, yours = (
        pattern.search(folded) is not None for pattern in _IDEAS
    )
    return [
        *map(float, (drop, orders, show, secret, become, limits, before, yours)),
        float(drop and orders),
        float(show and secret),
        float(show and orders),
        float(become and limits),
        float(become and drop),
        float(drop and before),
        float(show and before),
        float(orders and yours),
        float(secret and yours),
    ]
