"""How the demo folds were trained: recordings -> scenes -> a fold in the original layout -> its report.

    python -m edgebird.export.training.recordings DIR          fetch the recordings
    python -m edgebird.export.training.train DIR --experiment exp105 --out FOLD.bin
    python -m edgebird.export.training.demo_recording DIR OUT  the recording that `edgebird demo` listens to
    python -m edgebird.export.training.evaluate DIR BUNDLE     what docs/demo.md reports

The folds that times and errors are measured on, beside those with seeded weights, are trained on more birds:

    python -m edgebird.export.training.material PACKAGES MATERIAL.npz
    python -m edgebird.export.training.folds --material MATERIAL.npz --experiment exp105 --width 0.5 --out FOLDER

edgebird itself does not use this package; it is kept so that the demo's weights can be made again and judged.
"""
