"""What the tooltips of the search's controls say, by the last part of the control's element id."""

from __future__ import annotations

from collections.abc import Mapping

TOOLTIPS: Mapping[str, str] = {
    "score": "What judges the images: a model, a score.py of your own, your own eye, or a sum such as "
    "imagereward + clip*0.2. First available takes the first that has its files.",
    "check": "Which scores can be used here, and what the others need.",
    "evaluations": "Ratios to try, each with an image per prompt and seed. Forty find most of what there is; 0 has no "
    "limit but the minutes.",
    "start": "Draws with this tab's settings and one choice of ratios after another, and keeps the best. The same "
    "search again goes on where it ended.",
    "advanced": "Prompts and seeds, what is varied and how far, the strategy, the files of the scores.",
    "stop": "Ends the search after the image being drawn; the best so far is kept, and Resume goes on.",
    "resume": "Goes on with this tab's last search as it was begun, with the evaluations and minutes set here.",
    "test": "Scores the image shown in the gallery for its prompt, to see that the score works and how long it takes.",
    "minutes": "Ends the search after so many minutes of drawing and scoring. 0 has no limit but the evaluations.",
    "prompts": "Every ratio is judged by the mean over these prompts, one a line. Empty takes the tab's prompt.",
    "seeds": "Every prompt is drawn with each of these seeds; more seeds cost more time and give a surer result. -1 is "
    "one at random, drawn once and shown; empty takes the tab's seed.",
    "fresh_seeds": "After the search its best few and where it started race on half of so many seeds it has not seen; "
    "the other half tells what the winner gains beyond the images it was chosen for, or that it gains nothing. "
    "Minutes do not limit them.",
    "vary": "What the search may change; the rest stays as the accordion has it.",
    "paper_k": "Draws trials by the pruned model alone, in one UNet pass a step; Apply then sets k to 1. Off, trials "
    "are drawn with your k, as Generate draws.",
    "hires": "Draws the trials with Hires. fix where the tab has it on: slower, and judged as you will see them.",
    "low": "The least ratio that is tried, for each group that is varied.",
    "high": "The largest ratio that is tried, for each group that is varied, below 1.",
    "low_k": "The least amplification k that is tried.",
    "high_k": "The largest amplification k that is tried.",
    "k_by_stage": "Whether k may differ from stage to stage as the ratios do; it counts with two stages or more.",
    "stages": "Parts of the steps, all of the same length, each with ratios of its own. Every stage is more to search "
    "for, and takes more evaluations.",
    "strategy": "How the next ratios are chosen: nearby, the default, samples around the start and the best so far, "
    "random evenly, annealing is the paper's, evolution changes the best a little as Diff-ES does. cmaes is offered "
    "where that Python package is installed, tpe and gp where optuna is.",
    "racing": "Whether ratios that cannot win are given up early: exact never misses the best, likely saves more, off "
    "draws every image.",
    "seed": "Of the search's own random numbers; another one tries other ratios.",
    "temperature": "Of the annealing: how much worse a step may be. 0 takes the spread of the first scores; the "
    "paper's is 0.1, for ImageReward.",
    "files": "Where a score's model comes from, and a button that downloads it.",
    "source": "The model to download; nothing is downloaded before the button is pressed.",
    "download": "Downloads the files named above, checks them, and goes on with a download that was cut off.",
    "download_stop": "Stops the download; what is here is kept for the next one.",
    "name": "What to call the result in the list of presets.",
    "scope": "This prompt: the result is offered when the prompt comes back, and changes nothing else. Every prompt: a "
    "preset, which Auto takes from then on.",
    "save": "Saves the best ratios found, under the name and for what is chosen here.",
}
