"""The words that seeded names, addresses and texts are made of. Nobody real is meant."""

from __future__ import annotations

FIRST_NAMES = (
    "Anna", "Jürgen", "Käthe", "Björn", "Sabine", "Uwe", "Ayşe", "Mehmet", "Łukasz", "Zoë",
    "Heike", "Karl-Heinz", "Renate", "Günther", "Mareike", "Sören", "Ingrid", "Frauke", "Tülay",
    "Hans-Jörg", "Birgit", "Volker", "Jörg", "Silke", "Rüdiger", "Petra", "Detlef", "Christa",
    "Enno", "Wiebke", "Özlem", "Dagmar", "Thorsten", "Gesa", "Matthias", "Ulrike", "Finn", "Lotte",
    "Bärbel", "Andrzej", "René", "Chloé", "Nguyễn", "Søren", "Émile", "Amélie", "Jan-Ole", "Antje",
)  # fmt: skip
LAST_NAMES = (
    "Müller", "Schröder", "Weiß", "Großmann", "Yılmaz", "Kowalski", "Jäger", "Böhm", "Krüger",
    "von der Heide", "Thießen", "Petersen", "Grün", "Löffler", "Strauß", "Öztürk", "Sørensen",
    "Maaßen", "Zürn", "Kästner", "Hübner", "Voß", "Claußen", "Dörr", "Schäfer", "Köhler", "Çelik",
    "Lüders", "Brandt", "Meyer-Landrut", "Ahlers", "Fröhlich", "Pfeiffer", "Göbel", "Wünsch",
    "Nowak", "Rößler", "Stöver", "Kühn", "Mäder", "Sänger", "Bräuer", "Holm", "d'Arcy", "O'Neill",
)  # fmt: skip
STEMS = (
    "Nordlicht", "Elbufer", "Küstenwind", "Alpenglück", "Hansekai", "Mühlbach", "Schwarzwald",
    "Förde", "Spreebogen", "Rheinblick", "Bergmann & Söhne", "Gebr. Höfer", "Grünwerk", "Weißtal",
    "Süderelbe", "Lüneburger", "Bodensee", "Harzer", "Ostsee", "Würm", "Isar", "Königstein",
    "Fuchs", "Möwe", "Adler", "Bär", "Löwen", "Storch", "Eiche", "Linden", "Röder", "Jahn",
)  # fmt: skip
TRADES = (
    "Maschinenbau", "Logistik", "Bäckerei", "Metallbau", "Getränke", "Küchentechnik", "Solar",
    "Holzbau", "Steuerberatung", "Gerüstbau", "Druckerei", "Medizintechnik", "Spedition", "Möbel",
    "Gartenbau", "Prüftechnik", "Lüftung", "Kältetechnik", "Verlag", "Software", "Fenster", "Öle",
)  # fmt: skip
LEGAL_FORMS = ("GmbH", "GmbH & Co. KG", "AG", "e. K.", "UG (haftungsbeschränkt)", "OHG", "eG", "KG")
STREETS = (
    "Hafenstraße", "Bahnhofstr.", "Am Kräuterbeet", "Große Elbstraße", "Schloßallee", "Mühlenweg",
    "Industriering", "Königsallee", "Zum Süßen See", "Straße des 17. Juni", "Fährsteg", "Lindenweg",
)  # fmt: skip
# town, postal code, state, country
PLACES = (
    ("Kiel", "24103", "Schleswig-Holstein", "Germany"),
    ("Köln", "50667", "Nordrhein-Westfalen", "Germany"),
    ("München", "80331", "Bayern", "Germany"),
    ("Lübeck", "23552", "Schleswig-Holstein", "Germany"),
    ("Görlitz", "02826", "Sachsen", "Germany"),
    ("Saarbrücken", "66111", "Saarland", "Germany"),
    ("Würzburg", "97070", "Bayern", "Germany"),
    ("Hamburg", "20457", "Hamburg", "Germany"),
    ("Zürich", "8001", "Zürich", "Switzerland"),
    ("Graz", "8010", "Steiermark", "Austria"),
    ("Łódź", "90-001", "Łódzkie", "Poland"),
    ("Århus", "8000", "Midtjylland", "Denmark"),
)
JOB_TITLES = (
    "Geschäftsführerin", "Einkauf", "Leiter Instandhaltung", "Prokurist", "Büro", "Vertrieb",
)  # fmt: skip
NOTES = (
    "Ruft lieber an.", "Angebot bis Freitag schicken.\nNur per Post!", "=SUMME(A1:A9)",
    "Kommt immer zu spät 🙈", "Zahlungsziel 30 Tage\tSkonto 2 %", "Größtes Lager im Süden — prüfen",
)  # fmt: skip
PROJECTS = (
    "Wärmepumpe", "Lüftungsanlage", "Wartungsvertrag", "Neubau Halle", "Kühlhaus", "Umbau Büro",
    "Ersatzteile", "Rahmenvertrag", "Schulung", "Montage",
)  # fmt: skip
PRODUCT_NAMES = (
    "Wärmepumpe", "Kompressor", "Filter", "Ventil", "Steuerung", "Montage", "Wartung", "Schulung",
    "Anfahrt", "Kältemittel", "Fühler", "Pumpe",
)  # fmt: skip
SUBJECTS = (
    "Rückfrage zum Angebot", "Aufmaß vor Ort", "Angebot nachfassen", "Vertrag besprechen",
    "Unterlagen schicken", "Termin abstimmen", "Übergabe 🎉", "Reklamation klären",
)  # fmt: skip
