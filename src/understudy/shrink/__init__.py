"""Making a trained model small: vocabulary trimming, export that refuses to differ, int8. Needs the extra 'train'."""
