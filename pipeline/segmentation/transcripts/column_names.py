"""Names of columns that hold times, speakers and texts, in English and six other languages."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

__all__ = ["EMOTIONS", "ROLES", "ColumnName"]

# in order of preference; as `ColumnName.key` gives them: small letters without accents
ROLES = {
    "start": tuple(
        "start starttime begin begintime onset from in timestamp timein intime tcin timecodein "
        "inpoint starttc starttimecode timecodestart tcstart starttimestamp timestampstart "
        "startoffset startat startsat startpoint starts begins beginning timestart timebegin "
        "tstart "
        "xmin tmin timecode time tc ts "
        "beginn anfang anfangszeit startzeit startzeitpunkt von ab zeitstempel zeitmarke zeitpunkt "
        "zeit "
        "debut heuredebut heurededebut tempsdebut tempsdedebut debuttemps horodatage minutage "
        "temps "
        "inicio comienzo desde tiempoinicio tiempodeinicio tiempoinicial horainicio horadeinicio "
        "horainicial marcadetiempo tiempo "
        "inizio tempoinizio tempodiinizio orainizio oradiinizio dalle tempo "
        "comeco tempoinicio tempodeinicio tempoinicial carimbodetempo "
        "starttijd begintijd tijd".split()
    ),
    "end": tuple(
        "end endtime stop stoptime finish finishtime offset to until till out timeout outtime "
        "tcout "
        "timecodeout outpoint endtc endtimecode timecodeend tcend endtimestamp timestampend "
        "endoffset endat endsat endpoint ends stops ending timeend timestop tend xmax tmax "
        "ende endzeit endzeitpunkt schluss bis "
        "fin heurefin heuredefin tempsfin tempsdefin fintemps "
        "final hasta tiempofin tiempodefin tiempofinal horafin horadefin horafinal "
        "fine tempofine tempodifine orafine oradifine alle "
        "fim termino tempofim tempodefim tempofinal horafim ate "
        "einde eind eindtijd".split()
    ),
    "duration": tuple(
        "duration dur length dauer lange laenge duree duracion durata duracao duur".split()
    ),
    "speaker": tuple(
        "speaker speakerid speakername speakerlabel spk spkr spkid speakers name who talker person "
        "character actor participant participantname participantid interlocutor voice displayname "
        "username user author sender nickname role tier tiername from "
        "sprecher sprecherin sprecherinnen sprecherid sprechername redner rednerin teilnehmer "
        "rolle "
        "figur wer "
        "locuteur locutrice intervenant intervenante orateur oratrice personne personnage acteur "
        "nom qui "
        "hablante locutor locutora orador oradora persona personaje participante nombre quien "
        "parlante locutore oratore relatore personaggio partecipante nome chi "
        "falante pessoa personagem quem spreker".split()
    ),
    "text": tuple(
        "text utterance utterances transcript transcription transcripttext sentence sentences "
        "content contents words caption captions subtitle subtitles speech spoken said message "
        "annotation annotations phrase quote body dialogue dialog line lines "
        "transkript transkription satz ausserung aeusserung aussage inhalt wortlaut gesagtes "
        "gesprochenes nachricht untertitel "
        "texte paroles enonce propos contenu replique soustitre "
        "texto transcripcion frase oracion enunciado contenido dialogo "
        "testo trascrizione battuta enunciato contenuto "
        "transcricao fala conteudo legenda tekst".split()
    ),
}
EMOTIONS = frozenset(
    "emotion emotions emotionlabel emotionallabel sentiment affect mood valence arousal dominance "
    "gefuhl stimmung emocion sentimiento emozione sentimento emocao humeur".split()
)
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds", "sek", "sekunden"), 1.0),
    **dict.fromkeys(("secondes", "segundos", "secondi"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "µs", "usec", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nanoseconds"), 1e-9),
}
_LONGEST = 100  # characters; a longer name has no unit
_CLOCK = re.compile(
    r"[\s(\[-]*\b(?:h{1,2}:)?m{1,2}:ss?(?:[.,:;](?:m?s{1,3}|m{1,3}|f{1,3}))?[)\]]*$"
)
_SECONDS = re.compile(r"[\s(\[-]*\bss\.ms(?:ec)?[)\]]*$")  # ELAN: "Begin Time - ss.msec"
_UNIT = re.compile(
    rf"(?:[\s_]+(?:in|en))?[\s_(\[/,.-]*({'|'.join(sorted(_UNITS, key=len, reverse=True))})[)\]]*$",
    re.IGNORECASE,
)
_TIMES = frozenset({*ROLES["start"], *ROLES["end"], *ROLES["duration"]})


@dataclass(frozen=True)
class ColumnName:
    """A name of a column, without its unit.

    name: as the file writes it. key: in small letters, without accents, digits and separators.
    unit: in seconds; None if the name has none.

    >>> ColumnName.parse("Début (ms)")
    ColumnName(name='Début (ms)', key='debut', unit=0.001)
    """

    name: str
    key: str
    unit: float | None

    @classmethod
    def parse(cls, name: str) -> ColumnName:
        """Split "start (ms)", "start_ms", "startMs" and "Start (hh:mm:ss)" into name and unit."""
        stripped = name.strip()
        if len(stripped) > _LONGEST:
            return cls(name, _key(name), None)
        for pattern in (_CLOCK, _SECONDS):
            match = pattern.search(stripped)
            if match and _key(stripped[: match.start()]) in _TIMES:
                return cls(name, _key(stripped[: match.start()]), 1.0)
        match = _UNIT.search(stripped)
        if match:
            stem, unit = _key(stripped[: match.start()]), match[1]
            # "starts" is a verb, "startMs" and "start_ms" have a unit
            separated = len(match[0]) > len(unit) or unit[0].isupper() or len(unit) > 2
            if separated and stem in _TIMES:
                return cls(name, stem, _UNITS[unit.lower()])
        return cls(name, _key(name), None)


def _key(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(character for character in letters if character.isalpha())
