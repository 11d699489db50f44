<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE TS>
<TS version="2.1" sourcelanguage="en_US">
 <context>
  <name>install.environment</name>
  <message>
   <source>no Python {oldest} or newer was found; install one from python.org, or choose it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: the disk is full: {free:.1f} GB are free, {needed:.1f} GB are needed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{python}: is no Python 3 ({answer}); choose the program python, for example of python.org</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: cannot be deleted ({reason}); restart Slicer and try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: {packages}; {size:.1f} GB</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the Python Package Index (pypi.org), {size:.1f} GB to download</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A Python environment for LLMBoost alone is made in {folder}: PyTorch, MONAI and what they need, from {source}. It takes {disk:.1f} GB of the disk and some minutes. Slicer's own Python is not touched.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>PyTorch from there computes on the processor; for an NVIDIA graphics card, give a folder with wheels of download.pytorch.org.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>installing the packages failed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the packages were installed, but do not run on this computer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the folder {wheels}; nothing is downloaded</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: is being changed by another Slicer, or by one that has ended; try again in a minute</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{python}: Slicer's own Python cannot make an environment; choose another</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{about}: a 64-bit Python {oldest} or newer is needed; install one from python.org</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{about}: there is no current PyTorch for Intel processors; choose a Python for Apple silicon, or let the worker run on another computer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{about}: lacks venv or pip; install them (Debian, Ubuntu: the package python3-venv)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: holds no wheels (files named .whl)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>making the environment failed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: holds no complete environment; create it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: was not made by LLMBoost; delete it yourself</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{python}: cannot be started ({reason})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: holds other files; choose an empty folder</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>install.packages</name>
  <message>
   <source>Another way is a private environment (under Advanced), which leaves Slicer's own Python alone</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>this Slicer runs a Python for Intel processors, for which there is no current PyTorch on macOS</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>LLMBoost computes with Python packages that are not there yet:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>other Python packages are being installed just now; wait for that, then try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Installing Python packages...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the extension PyTorch is missing; install it with the Extensions Manager and restart Slicer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>They go into Slicer's own Python. What Slicer and other extensions have installed there stays as it is. {free:.0f} GB of the disk are free. This takes some minutes.

Install them now?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>installing {names} failed: {reason}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Python packages are missing ({names}), and were not installed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>missing: {names}; in testing mode nothing is installed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the disk of {folder} is full: {free:.1f} GB are free, at least {room:.1f} GB are needed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>- PyTorch, from download.pytorch.org by the extension PyTorch: {cpu[0]} GB to download, {cpu[1]} GB on the disk; for an NVIDIA graphics card {gpu[0]:.0f} GB and {gpu[1]} GB</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>- {names}, from the Python Package Index (pypi.org): at most {size[0]} MB to download, {size[1]} MB on the disk</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>PyTorch {version} is installed in Slicer, but {needed} is needed. Other extensions may rely on it, so it is left alone; to replace it, use the module PyTorch Utils (uninstall it, restart Slicer, install it)</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>install.pipoutput</name>
  <message>
   <source>the disk is full, or a quota is reached; free some space, also for temporary files, and try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a file is in use or protected; close other programs, restart Slicer and install before anything else is done</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the folder of Python's packages cannot be written; ask for the permission, or choose another folder</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>it does not fit the packages that are there{conflict}; nothing was changed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a package file is damaged; download or copy it again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>this Python has no pip; choose another Python</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no version of {package} fits this Python and this computer; a newer or another Python may help</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the proxy server refuses; put its address, with name and password where it asks for them, into the environment variable HTTPS_PROXY (http://name:password@host:port), restart Slicer and try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the secure connection is not trusted, as behind some proxy servers; put the path of your institution's certificate file into the environment variable PIP_CERT, restart Slicer and try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the package server cannot be reached; check the network and try again, or install from a folder of wheels that another computer has downloaded</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{package} was not found: there is no network, or the folder of wheels lacks it for this Python and computer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>pip ended without a word</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a package</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>download</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source> ({wanted}; there is {present})</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.advanced</name>
  <message>
   <source>The worker can have Python packages of its own, apart from Slicer's, in {folder}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>worker ended, memory released</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>diagnostics copied to the clipboard</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Cancel</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Create</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The worker uses {folder}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>busy with a request</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder} exists, but is not used.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete {folder} and all that is in it?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>worker: {command}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Slicer's own Python</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This is no command line ({error}): {text}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.bodyparts</name>
  <message>
   <source>Head</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Neck</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Chest</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Abdomen</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Pelvis</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Spine</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Limbs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Whole body</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Other</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.choiceview</name>
  <message>
   <source>Stop the computation; the scene stays as it is</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Cancel</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Classify the image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment the image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Cl&amp;assify</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Apply</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Something else is being computed: wait for it, or cancel it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>about {time} on this machine</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.devicechoice</name>
  <message>
   <source>Automatic</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>CPU</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>GPU (CUDA)</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.errordisplay</name>
  <message>
   <source>Unexpected error: {error}. Please report it, with the details</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.examining</name>
  <message>
   <source>The model '{name}' is not installed here: choose another, or import it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose a model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The model's file is damaged: choose another, or remove it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The model takes more images than this panel has room for: use the logic from Python</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.explainview</name>
  <message>
   <source>Cancel</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Ex&amp;plain</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Where the model looked, not whether it is right.</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.importdialog</name>
  <message>
   <source>Import</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Look the license up where you got the model. It is kept in the model's card; LLMBoost cannot check it.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>by itself: from the data set's name</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>not told: such as Apache-2.0, CC BY 4.0, own work</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>import a model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Model:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>From:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Networks:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;License:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Na&amp;me here:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>trained on all cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>one</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>fold {number}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>all folds together: better, {count} times as long</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.inputview</name>
  <message>
   <source>This one ({current} of {count})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This one, of {count}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>All {count}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.learning</name>
  <message>
   <source>LLMBoost Train has a trained model, '{name}', that waits for your decision. Discard it?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>learning</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Added: it is learned from as soon as the present training is done</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learning from one case; from {least} on, some are kept aside and tell the gain</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learning from {count} cases; from {least} on, some are kept aside and tell the gain</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learned from one case, {gain}: in use from now on</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learned from {count} cases, {gain}: in use from now on</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What was learned is forgotten again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>LLMBoost Train trains a model: wait for it, or cancel it there</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Accept or discard the model in LLMBoost Train first</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learning from {count} cases, of which every fourth is kept aside and tells the gain</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Dice {change} on what was kept aside</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the gain is not measured yet</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learning was stopped</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learned nothing better ({gain}): the model stays as it was. More cases help</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source> · about {time} left</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.loop</name>
  <message>
   <source>Add the image and its segments, once you have corrected them, to the cases, and let the model learn from all cases in the background. What is learned stays on this computer.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This model cannot learn. LLMBoost Train can teach its segments to another one.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The segments may have been edited since. Undo takes edits back, too. Go on?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Added to the cases of LLMBoost Train ({count} in all)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Added to the cases of LLMBoost Train as {crops} crops, a side each ({count} in all)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment an image first</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>next case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Undone: {step}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>correction</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.modelcard</name>
  <message>
   <source>{figure}; of a whole {subject}, told with the result (off by {error:.2f} on average of {count:.0f} tests)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Accuracy</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>File</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>known after the first run</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>No model is chosen.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} {version}, {size:.1f} MB</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Origin</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{figure} (crops)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>about {size:.1f} GB for this image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Input</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{figure}; of a whole {subject}, not measured</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{figure}; of a whole {subject}, told with the result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>about {time} on this machine</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>about {time} by its card</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This file cannot be used: {problem}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.modelentries</name>
  <message>
   <source>{doubts}.

Train it longer, or on more cases. Import it all the same?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} (damaged)</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.modelimport</name>
  <message>
   <source>Cancel</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>I&amp;mport...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>looking for models</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Models</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A file or a zip archive...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A folder of nnU-Net, TotalSegmentator or MONAI...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What these programs keep on this computer...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The worker runs on {host}, which does not see this computer's files: import there, by `llmboost models import`, or clear the worker's command under Advanced</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the model '{name}' from this computer?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Import a model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The folder of a trained model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>nnU-Net, TotalSegmentator and MONAI keep no model where they usually do on this computer: choose a folder or an archive</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Imported {title}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.modulepanel</name>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.nextcase</name>
  <message>
   <source>There is no next image: every image of the scene has a segmentation. Load one, or a file of a folder with more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: cannot be loaded ({error})</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.progressview</name>
  <message>
   <source>about {time} left</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>about {size:.1f} GB of memory</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.reportview</name>
  <message>
   <source>stored in Slicer's DICOM database, as segmentation and measurements of the same study</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Write a report</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Web page (*.html);;PDF (*.pdf)</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.resultview</name>
  <message>
   <source>Outside of the model's range: its answer means little here.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Not an image that this model knows:</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.runner</name>
  <message>
   <source>cancelling</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.segmentpanel</name>
  <message>
   <source>new segmentation</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled, for the scene was closed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>starting</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Done in {time}: {name}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled, for {name} was removed from the scene</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.segmenttable</name>
  <message>
   <source>mL</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>% of TIV</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Asym. (%)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>How well the segment probably agrees with an expert's, by how sure the model was of its voxels.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Expected Dice</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}, {count} voxels</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.slicechoice</name>
  <message>
   <source>View {view} cuts across the slices of {volume}: turn it (Rotate to Volume Plane), or take all</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>View {view} shows no slice of {volume}: scroll to one</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>All {count}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The one shown in view {name}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.studyview</name>
  <message>
   <source>All: each volume of the image's study, or folder, that suits the model is segmented on its own.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Left, for it does not suit:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This image alone</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>and {count} more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What suits best: {name}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>All {count} that suit</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>panels.undosteps</name>
  <message>
   <source>Undo</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Take the latest step back: a result, a correction, what was learned, or the next case.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Undo: {step}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.classification</name>
  <message>
   <source>positive class: {name}, reported from {percent} on</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>not for clinical use</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>not an image that this model knows</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>none of the classes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>yes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: was removed from the scene meanwhile; its classification is dropped</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>over {count} slices</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>slice {number}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.dicomdatabase</name>
  <message>
   <source>{name}: Slicer's DICOM database does not know this image (any more); import its files there</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Slicer's DICOM database did not take the segments; see the error log, and whether it can be written</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: nothing was found, so there is nothing to store</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.explanation</name>
  <message>
   <source>Grad-CAM</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Attention rollout</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>After the booster</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Before the booster</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.fit</name>
  <message>
   <source>Voxels of {mm:.1f} mm are coarse for a model that works at {expected:g} mm: small structures get lost.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{millions:.0f} million voxels take long and much memory: choose a ROI.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Replaces {segments} in {name}; Undo brings them back.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} belongs to another image, {image}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image has values like CT, the model was trained on MR.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image has no negative values, unlike CT in Hounsfield units, which the model was trained on.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image is a single slice, the model takes volumes.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose a segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose an image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The same image is chosen twice; the model takes different ones</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image lies under a transform that is not linear: it is taken as if it had none.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image is {told}, the model was trained on {expected}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The ROI ({extent}) is much larger than what the model looks at at once ({window}).</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image ({extent}) is much larger than what the model looks at at once ({window}). If it was trained on crops, crop the image or choose a ROI.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Too thin: {extent}; the model looks at {window} at once.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{roi}: lies outside of {volume}, at ({place}) mm; move it, or choose no ROI</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.frames</name>
  <message>
   <source>the sequence was removed from the scene meanwhile: its segmentations are dropped</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the sequence was changed meanwhile; segment it again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Frame</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: shows no sequence; segment it alone</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.maps</name>
  <message>
   <source>the volume was removed from the scene meanwhile: its maps are dropped</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: was changed meanwhile; compute its maps again</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.result</name>
  <message>
   <source>The output segmentation was removed meanwhile: the segments are in a new one</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Entropy</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Probability</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.samples</name>
  <message>
   <source>The sample cannot be loaded ({error}): check the network, or begin with the phantom, which needs none</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Hippocampus phantom (drawn, no person)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} segments</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Phantom {number}, other scanner (drawn, no person)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>nothing came</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.segmentation</name>
  <message>
   <source>the volume was removed from the scene meanwhile: its segmentation is dropped</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the output segmentation was removed from the scene meanwhile: choose another</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the segmentation was removed from the scene: nothing to revert</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: was changed meanwhile; segment it again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: consists of {kind}s, not of binary labelmaps; make these its source in module Segmentations, or choose another output</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.tables</name>
  <message>
   <source>{formula}. The total intracranial volume (TIV) is the volume of all segments together that have a share.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Asymmetry index: {formula}. Above 0 where the left side is larger; empty where there is no other side, or one of them is empty or may be cut off.</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>scene.volumes</name>
  <message>
   <source>{name} lies under a transform that is not linear: it was taken as if it had none</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} lies under a transform that scales it: sizes are those after the transform</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a color image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>one component</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no volume is chosen; load an image and choose it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} components</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: a sequence; choose the volume that its sequence browser shows</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: a label map, not an image; choose the image itself</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: not a volume; choose a scalar volume</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: holds no voxels; load it again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a gray image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: {kind}, but the model takes {wanted}; choose another volume</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: has no segment '{segment}'; choose another segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: segment '{segment}' is empty; choose another segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: a ROI cannot limit a volume under a transform that is not linear; harden the transform, or remove the ROI</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: an empty box; place the ROI first</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: its spacing or axes place the voxels nowhere; correct them in module Volumes</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>segment.handingout</name>
  <message>
   <source>The worker on {host} does not see Slicer's DICOM database; to store, let it run on this computer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no segments of one image that could be reported: segment an image first</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no segments of one image of Slicer's DICOM database: segment such an image first</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>segment.logic</name>
  <message>
   <source>{model}: not on this computer, so nobody knows which volumes suit it; choose another model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model}: classifies images; mirror and uncertainty are for models that segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no result to revert</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>time point {number} of {count}: {text}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>segment.request</name>
  <message>
   <source>The ROI was moved since the result was made: make it again before it is explained</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>segment.studyrun</name>
  <message>
   <source>No volume here suits the model: {reasons}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} of {all} images of the study are done</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} ({number} of {count}): {text}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>there is none</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>strokes.SegmentEditorEffect</name>
  <message>
   <source>LLMBoost strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Kept as model '{name}': it is used from now on, for the next image and in LLMBoost Segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Paint a little, get the whole.&lt;ol&gt;&lt;li&gt;Add a segment for each structure; for what is none of them, one named &lt;b&gt;background&lt;/b&gt;. In two or three slices, paint a stroke inside of each with &lt;b&gt;Paint&lt;/b&gt;.&lt;/li&gt;&lt;li&gt;Come back here: the whole is drawn, by a random walker at once, and then by an installed model that knows the structures, if there is one, which learns from the strokes.&lt;/li&gt;&lt;li&gt;Where it is wrong, paint on; &lt;b&gt;Space&lt;/b&gt; goes to and fro. &lt;b&gt;N&lt;/b&gt; shows where a stroke helps most.&lt;/li&gt;&lt;li&gt;&lt;b&gt;Apply&lt;/b&gt;, or &lt;b&gt;Cancel&lt;/b&gt;.&lt;/li&gt;&lt;/ol&gt;What was painted always stays as it was painted. For research only.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model} does not know all that is painted: the random walker draws</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The worker runs on {host}: what was learned cannot be kept on this machine</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>strokes.keeping</name>
  <message>
   <source>Added as case {names}: all of the result counts. Train makes a model of the cases that were added</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Added as case {names}: what is painted counts, no more. Train makes a model of the cases that were added</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>strokes.options</name>
  <message>
   <source>Around the strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>one unsure place</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} unsure places</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no unsure place</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Learn from the strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Model:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Region:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Next unsure place (N)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Keep as a model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add this case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>All of the result is right</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Train...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model}, taught by one stroke</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model}, taught by {count} strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model}, taught by one stroke (by {share:.0%} of what it says)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model}, taught by {count} strokes (by {share:.0%} of what they say)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model} as it is: it agrees with one stroke</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model} as it is: it agrees with {count} strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Models that know the segments, by name or SNOMED CT code; automatic: your own newest one first. The random walker needs none: it spreads the strokes as far as the image is alike</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The model learns from what is painted, where that helps; unticked, the random walker alone draws</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Where to compute: a ROI, or what lies around the strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Show in the slice views where a stroke would help most</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Make a model of what was learned: LLMBoost Segment lists it, and the next image starts from it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add the image to the cases of LLMBoost Train: what is painted counts, the rest is not labeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add the whole result, not only what is painted</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Open LLMBoost Train, where a model learns from the cases that were added</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Automatic</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>None: random walker</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source> · a model learns ...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Random walker from one stroke</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Random walker from {count} strokes</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>strokes.run</name>
  <message>
   <source>{name}: nothing is painted; paint a stroke in each segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>No model knows all that is painted: there is nothing to keep; add it as a case instead</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} by strokes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model}: does not know all that is painted</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{model} agrees with the strokes: there is nothing to keep</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.adaptersview</name>
  <message>
   <source>before → after, of the cases that were kept for checking</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: needs the base model {base} {version}; import that first</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Name</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Base</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Dice</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>MB</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>to learn from</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>none</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>not here</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Import a model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the model '{name}' from this computer?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Export {name} to a folder</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>LLMBoost models</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.candidate</name>
  <message>
   <source>{doubts}; {advice} (anyway=True accepts it all the same)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: cannot be written ({reason}); check the free space</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>'{name}' cannot be a model's name: take letters, digits and hyphens</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A model named '{name}' is installed already: choose another name</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.candidateview</name>
  <message>
   <source>Checked on every case ({count}), each by one of {folds} networks that had not seen it: Dice {dice}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Before</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>After</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Change</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Checked</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Labels</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the time was up</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>stopped by you</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>it got no better any more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Dice of what it has not learned from ({count}): {change}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Dice of cases like those that the base learned from: {change}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: {steps} steps in {time} ({reason}).</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>    and {count} labels more</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.cases</name>
  <message>
   <source>{folder}: not a folder of LLMBoost Train's; choose an empty one ({file} there is another program's)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: written by a newer LLMBoost; update the extension</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: cannot be read ({reason}); mend it, or choose another folder</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: cannot be written ({reason}); check its folder and the free space</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a case has segments of no kind</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.casesection</name>
  <message>
   <source>Delete the copy of this case? Nodes in the scene stay.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the copies of {count} cases? Nodes in the scene stay.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} is a case now ({count} in all)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A folder with dataset.json, imagesTr and labelsTr</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>crops of it are cases now: {name} ({count} in all)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>One case added from the scene</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} cases added from the scene</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>One case copied from {folder}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} cases copied from {folder}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Copying cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder} is made with the first case</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.casestore</name>
  <message>
   <source>'{role}' is no use of a case; take one of {roles}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: not a folder of LLMBoost Train's; choose an empty one (it holds {name})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: too many kinds of segments; use another folder</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: cannot be read ({reason}); choose another folder</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>case {id}: its image was changed since; remove the case, and add the image again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>case {id}: has no segments; draw them with Edit, then it can be used to {role}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>case {id}: is not in {folder} any more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: a file; choose a folder</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.casesview</name>
  <message>
   <source>No cases yet. Segment an image, correct the segments, and add both here: by Add, or by 'Add this case' in LLMBoost Segment.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>train: learned from; val: checks the training; test: kept out of it; unlabeled: waits to be labeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What has no segment is background; or it is background, but a label that is missing was not drawn and may be anywhere in it; or it is not labeled: only what has a segment is learned from.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Labels: {used} of {count} kinds of segments are learned</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Use</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Outside</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>State</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>background</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>some not drawn</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>not labeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>background: not learned</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>ignore: not labeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Label</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>unlabeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the segmentation in the scene was edited since: 'Update case' copies it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>to be labeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>ready</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no label yet</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>in one case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>in {count} cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>found by: {how}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>and {count} more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no segments</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>SNOMED: {meaning}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.compare</name>
  <message>
   <source>{name} before training</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} after training</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.crops</name>
  <message>
   <source>{structure}: what was drawn of it reaches over {reach} mm, and the model looks at {window} mm at once; remove what lies elsewhere with Edit (Islands), then add it again</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.curves</name>
  <message>
   <source>Step</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Loss, Dice</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Loss</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Dice, mean</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Training</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.filechanges</name>
  <message>
   <source>{path}: cannot be written ({reason}); check the folder's permissions and free space</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{folder}: cannot be written ({reason}); check the permissions around it</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.logic</name>
  <message>
   <source>The same labels, better</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>New labels, those of the cases</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.mapping</name>
  <message>
   <source>the SNOMED code of '{name}' says {other}, not {label}: look which one is right</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>'{name}' was taken for {label}: look whether that is right</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>chosen</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>code</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>name</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>part of name</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>its own name</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>name, code</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>'{name}' has no label: choose one</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.nextsection</name>
  <message>
   <source>ranking</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>segmenting</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>ranked: {count}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Correct the segments, then save them to the case</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.nextview</name>
  <message>
   <source>No unlabeled cases: add images without a segmentation, and the model tells which to label first.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Uncertainty</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Diversity</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The first would teach the model most.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>One unlabeled case, not ranked yet.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} unlabeled cases, not ranked yet.</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.panel</name>
  <message>
   <source>{before} (outlines) and {after} (filled) are in the views</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>segmenting</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled, for the scene was closed</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>one case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete all copies of cases in {folder}?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Case {name}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose an image first, above the cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: the segments were copied into the case</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.plan</name>
  <message>
   <source>No case to train with: add an image with its segmentation, or set a labeled case to 'train'</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>In no case to train with the rest is labeled, so there is no background to learn: choose 'background' under 'Outside' for a case that is complete, or draw a segment named 'background'</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>No case to train with shows {names}: what the base knows of it is all there is</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>shows the same patient as case {other}, which is used to {role}: use both for the same</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>its modality is {told}, the base was trained on {expected}: look whether that suits</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>One voxel lies in several segments, and counts for the last one: mend it with Edit</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} voxels lie in several segments, and count for the last one: mend it with Edit</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>too thin ({extent}) for a base that looks at {window} at once: take an image of more slices</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>every fourth is kept aside to check with</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>too few to check the result with</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Nothing to learn: no kind of segment is a label</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>its files are gone: remove it, and add it again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>has nothing to learn: draw a segment with Edit, or set it to 'unlabeled'</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no {names}: {rest}; choose otherwise under 'Outside' if that is wrong</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>too large ({extent}), the base trains on crops of {window}: crop it around the structure with module Crop Volume, and add that</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} to check with</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} to train with</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>, in the section Labels</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>what has no segment counts as not labeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} unlabeled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>'{name}' does not segment single images: choose another base</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the same image as case {twin}: remove one of them</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>it counts as not drawn, wherever it is</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>it counts as absent</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>large ({extent}) for a base that looks at {window} at once: cropping it saves time</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.resultsection</name>
  <message>
   <source>Tell how good it is by every case, not by what was kept aside alone: {folds} more networks learn as long as it did, each without some of the cases, and segment those. It stays as it is.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Takes cases of {count} patients to train with at least: add some, and train again.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>C&amp;heck on every case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{doubts}.

{advice}. Accept it all the same?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Discarded</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>C&amp;heck on every case (about {time})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This case was removed since: choose another one</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} is in the list of LLMBoost Segment</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.snapshot</name>
  <message>
   <source>{folder}: {count} images a case; this panel takes one image a case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: holds NaN or infinite voxels; replace them by numbers</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{path}: lies on another grid than its image; mend it, then import again</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.trainingrun</name>
  <message>
   <source>a training runs already; wait for it, or cancel it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name}: what it would go on from is gone; train it anew</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The worker runs on another computer, {host}, but cases do not leave this one: nothing was sent. To train here, clear the worker's command under Advanced of LLMBoost Segment</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>training.trainingsection</name>
  <message>
   <source>The model '{name}' waits for a decision. Discard it, and train again?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Done in {time} ({planned} planned): accept or discard the result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Cancel</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Start</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Train with these cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>One case has problems, told below the table: mend them</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>starting</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>coming to an end</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Checked on every case in {time} ({planned} expected): accept or discard the result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Stop, and keep nothing</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose a base model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>about {time} on this machine</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{count} cases have problems, told below the table: mend them</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>checked: Dice {dice:.3f}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Kept aside to check with: {names}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>worker.consent</name>
  <message>
   <source>Not installed yet: Apply asks before it installs what the computation needs.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The worker runs on another computer: {host}.

The image leaves this machine. Its voxels and its position are sent, names and DICOM headers are not. Send images to {host} from now on?</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Not installed yet: Apply asks before it makes a private environment for the computation.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Not installed yet: {why}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Nothing was sent to {host}. To compute on this machine, clear the worker's command under Advanced</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The worker's command cannot be read ({error}); correct it under Advanced</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>worker.folderrun</name>
  <message>
   <source>{folder}: cancelled; the cases that were finished are there, and resume=True does the others</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>llmboost {command} ended with status {status}</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>overview of all cases: {page}</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>worker.troubles</name>
  <message>
   <source>Check the worker's command under Advanced (application setting {setting})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Look whether its machine and the connection to it are well, then try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>This is a defect of LLMBoost, or of what the worker's command runs; please report it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>It may have needed more memory than there is; limit it to a region of interest, or try again</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a training runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a classification runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>an explanation runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a ranking of cases runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a segmentation runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a segmentation by strokes runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>another computation runs</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Wait for it, or cancel it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Update LLMBoost for the worker</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Update the extension in Slicer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>cancelled</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>no news from the worker for {seconds} s</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker starts ({seconds} s)</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker stopped in the middle of an answer: nothing came for {seconds:.0f} s</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker sent rubbish ({error})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker on {host} is LLMBoost {version} (protocol {protocol}), this Slicer has LLMBoost {ownVersion} (protocol {ownProtocol})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker could not be started ({reason})</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker did not start within {seconds:.0f} s</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>the worker ended unexpectedly ({reason})</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>LLMBoostSegment</name>
  <message>
   <source>LLMBoost Segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segments or classifies an image with a network that carries a frozen block of a language model inside, and shows where the network looked. All is computed on this machine, in a process of its own. For research only, not for clinical use. See &lt;a href="{url}"&gt;{url}&lt;/a&gt;.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The networks are trained on public data sets, named in each model's card. Models and programs are free software; their licenses are listed at {url}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>For research only. Not for clinical use.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Welcome. Begin with a sample, with an image of yours, or with a model of yours:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Sample head</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Downloads Slicer's sample MRHead, an MR image of a head (4 MB), once, and shows it.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Phantom</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Adds a drawn image, of no person, in which the hippocampus model finds something. It needs no network.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>My image...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Opens Slicer's dialog for files and folders. Images can also be dropped into the window; DICOM comes by the module DICOM.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>My model...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add a model to your models: a LLMBoost file, or one that nnU-Net, TotalSegmentator or MONAI trained, as a folder or a zip archive.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Image, model and output</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Image:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image to segment or classify. Load one first: drop a file into Slicer, or take one from module Sample Data.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose an image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Image 2:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Another image of the same place, in the order that the model's description tells.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Image 3:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Image 4:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Se&amp;gmentation:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The segmentation, and the segment of it that the model takes as its input.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Study:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Time points:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image is one time point of a sequence. All: each time point is segmented, and the result is a sequence of segmentations that the same sequence browser plays; each stays editable. Uncertainty is computed for single time points only.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Slic&amp;es:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The model looks at single slices. All: each slice of the image is classified, and the result lists them. A view: the slice that it shows when you click.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;ROI:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A box that limits where the model computes: faster, and right for models that were trained on crops. A new one is placed in the middle of the image; drag its handles in the views.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Whole image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Search:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Narrows the list: words from a model's name, description, modality, license or segments, by any of an organ's names.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>organ, modality, license ...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>I&amp;mport...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the chosen model from your models; those that came with LLMBoost stay.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Remove</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The installed models. Import adds others.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>About this model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segme&amp;ntation:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Where the segments go. In an existing segmentation, segments of the same names are replaced and all others stay; Undo brings back what was there.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Create new segmentation</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Options</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Device:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What computes. Automatic takes a GPU if there is one that works.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Fast</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>A larger step from patch to patch (0.8 in place of 0.5): sooner, less sure where patches meet.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Map of &amp;uncertainty</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Also make a volume of the entropy: bright where the model is unsure and a look at the segments pays off.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Map of e&amp;xplanation</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Also make a volume that tells where in the image the model looked. More of them, for other classes or segments, are made under Result.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Apply</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Undo</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Take this result back: new segments, tables and explanations are removed, replaced segments come back as they were.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Show its answer anyway</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Classify the image although it is of another kind than those that the model learned from: the answer means little.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>C&amp;orrect</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Correct the segments here, with the tools of the Segment Editor.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Learn from this</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add the image and its segments to the cases, and let the model learn from all cases in the background.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Ne&amp;xt case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment the next image: of the scene, or of the folder that this one was loaded from. It takes the model as it has learned until now.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add t&amp;his case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Copy the image and its segments, once you have corrected them, to the cases that LLMBoost Train learns from. The copies stay on this computer.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Report...</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Write a page or a PDF file with pictures, volumes and what is known of the model, and open it. Research use only.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Store in DICOM</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Store the segments and their volumes in Slicer's DICOM database, which the image came from: as a segmentation and a structured report of the same study. Research use only.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The segments in their colors, with their sizes. A click shows a segment in the slice views. The table is a node of the scene, too.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The sizes of the segments, or the probabilities slice by slice. The table is a node of the scene, too.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Show in &amp;3D</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Make surfaces of the segments for the 3D view.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Un&amp;certainty</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Lays the map over the image. Unchecking it brings back what the views showed before.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>How strongly the map covers the image.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Explanation: where the model looked</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;For:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The class or the segment to explain. A map that was made before is shown at once.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Ex&amp;plain</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Make a map of where in the image the model looked, and lay it over the slices.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Sho&amp;w</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Remo&amp;ve maps</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Remove the maps that explain this result from the scene; the views show again what they showed before.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Method and layer</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Method:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Grad-CAM follows the gradient of the class or segment back to a layer. Attention rollout follows the network's attention, weighted by the same gradient.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Layer:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What the network saw after, or before, the frozen block of the language model.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Advanced</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Computation</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Wor&amp;ker:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The command that starts the worker, where Slicer's own Python is not to do it: another Python (/opt/venv/bin/python -m llmboost.worker), or another computer (ssh -T HOST python -m llmboost.worker), which images are then sent to. It is a setting of this computer and never part of a scene.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Release memory</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>End the worker and give all of its memory back; the next run starts it again.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Co&amp;py diagnostics</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Copy versions and the worker's last words to the clipboard, for a report; names of nodes and your folder are left out.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Private environment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>P&amp;ython:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The Python (3.11 or newer) that the private environment is made with. Empty: the first one of this computer that will do.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Wheels folder:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>For computers without internet: a folder with the packages (.whl) to install. Empty: they are downloaded from PyPI.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Create</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Make the environment and install into it. Slicer's own packages are left alone.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Use</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Let the worker run in the private environment.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the private environment; the worker runs in Slicer's Python again.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Log:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What this module did since Slicer was started.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Back to the result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>End editing; the changes stay.</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>LLMBoostTrain</name>
  <message>
   <source>LLMBoost Train</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Makes a model of LLMBoost Segment better on a user's own images, in minutes: correct some results, add them as cases, train. The model itself stays as it is; what is learned goes into a small file beside it. All is computed on this machine, and cases do not leave it. For research only, not for clinical use. See &lt;a href="{url}"&gt;{url}&lt;/a&gt;.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Training builds on MONAI, PyTorch and PEFT; their licenses are listed at {url}.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>For research only. Not for clinical use. Cases stay on this computer.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Cases and model</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Image:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The image of the case to add.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Choose an image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Segmentation:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What was drawn on it. Without one, the case waits to be labeled.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>None: an unlabeled case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Add</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Keep a copy of the image and its segments as a case. Later edits do not change the copy.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add all of the scene</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Each segmentation in the scene becomes a case, with the image that it was drawn on.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Import folder…</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Copy the cases of a folder with dataset.json, imagesTr and labelsTr (Medical Segmentation Decathlon, nnU-Net).</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The cases: copies in the folder below. Choose for each what it is used for.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Edit</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Correct the segments of the chosen case here.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Update case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The segmentation in the scene was edited since: copy it into the case.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Remove</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the copies of the chosen cases. Nodes in the scene stay.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Base model:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The model to make better. It stays as it is: what is learned goes into a small file beside it.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Learn:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Draw the same labels better on images like these, or learn labels that the base does not know.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Minutes:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>How long to train. Two minutes are a good start; more cases deserve more.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Labels</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What each kind of segment in the cases is for the model: found by name or SNOMED code, or chosen here.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Options</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Device:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What computes.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Name:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>What the new model will be called.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Folder:</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Where the copies lie, on this computer. Names of patients and of nodes are not kept.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Show</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Open the folder in the file browser.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Remove all</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete all copies in the folder. Nodes in the scene and models stay.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Start</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Train with these cases</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Stop and &amp;keep the best</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>End the training now, and keep the best that it has found so far.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Result</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Accept</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Keep the trained model: it is in LLMBoost Segment's list at once.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Discard</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the trained model.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Show before and after</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment the chosen case by the base (outlines) and by the trained model (filled), in the views.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Dice of each case that was kept for checking, before the training and after it; once every case was checked, of each by a network that had not seen it.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Go on</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Train on from here, for so many minutes more; the new result takes this one's place.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>How many minutes more.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source> minutes more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>C&amp;heck on every case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Curves</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Label next</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Unlabeled cases, those first that the model would learn most from.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Rank</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Let the model look at the unlabeled cases: where it is unsure, and what is unlike the others, comes first.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>La&amp;bel</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Let the model segment the chosen case, then correct it here; saved, it is a case to train with.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Your models</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>The models that were trained on this computer, with what they were made of and how they did.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Use</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Open LLMBoost Segment with this model.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Compare</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segment the image chosen above by this model (filled) and by its base (outlines).</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Export…</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Copy the model's file, to hand it on. It holds no images.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Import…</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Add a model's file from elsewhere; its base must be here.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Delete the model from this computer.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>&amp;Save to the case</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Copy the segments into the case, and go back.</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Back without saving</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Go back; the case keeps the segments that it had.</source>
   <translation type="unfinished" />
  </message>
 </context>
 <context>
  <name>card.told</name>
  <message>
   <source>{count}: {names} and {more} more</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>SNOMED CT, guessed from the names of {guessed} of {count} segments</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Input</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Codes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Works at</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Expected time</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Memory</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Accuracy</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Doubts</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Base</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Origin</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>License</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Citation</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>a segment</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Classes</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>Segments</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{spacing} mm, patches of {patch} voxels</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{modality}, a {subject} or a crop of it</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{modality}, slice by slice</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{modality}, a color image</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{modality}, {count} images of the same place</source>
   <translation type="unfinished" />
  </message>
  <message>
   <source>{name} (positive)</source>
   <translation type="unfinished" />
  </message>
 </context>
</TS>
