//! How many tokens a text will be, before a provider has counted them: four characters each, rounded up.
//!
//! Refused: vocabularies. The estimate only decides when to compact and what to reserve; real usage corrects it.
