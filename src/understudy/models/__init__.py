"""Students and teachers as torch modules, and how a student is built from a teacher. Needs the extra 'train'."""
